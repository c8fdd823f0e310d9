"""Network namespaces: each host of the service has a network of its own, from which servers can be cut off.

For root on Linux. Elsewhere all hosts are on 127.0.0.1, and no host can be cut off.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from typing import Self

WRONG_MAC = "02:00:00:00:00:01"
ROLES = {"client": 1, "host": 2, "database": 3, "cache": 4}
"""The last number of each address of a network. All but `host` are addresses of this machine."""
MISSING = "hosts cannot be cut off: network namespaces need root and `ip` (Debian: apt-get install iproute2)"


class Network:
    """The network of one host. Use it as a context manager."""

    def __init__(self, index: int) -> None:
        self._name = f"journal-{os.getpid()}-{index}"
        self._link = f"jrn{os.getpid() % 10**6}v{index}"
        # Several runs on one machine do not share a network.
        self._prefix = f"10.{100 + os.getpid() // 250 % 150}.{os.getpid() % 250}.{16 * index}"
        self.is_separate = os.geteuid() == 0 and shutil.which("ip") is not None

    def address(self, role: str) -> str:
        """The address of `host`, or that at which it reaches `database`, `cache` and `client`."""
        if not self.is_separate:
            return "127.0.0.1"
        first, last = self._prefix.rsplit(".", 1)
        return f"{first}.{int(last) + ROLES[role]}"

    @property
    def command(self) -> list[str]:
        """The beginning of a command that runs a program in this network."""
        return [str(shutil.which("ip")), "netns", "exec", self._name] if self.is_separate else []

    def __enter__(self) -> Self:
        if self.is_separate:
            _ip(f"netns add {self._name}")
            _ip(f"link add {self._link} type veth peer name eth0 netns {self._name}")
            for role in ("client", "database", "cache"):
                _ip(f"addr add {self.address(role)}/28 dev {self._link}")
            _ip(f"link set {self._link} up")
            _ip(f"-n {self._name} addr add {self.address('host')}/28 dev eth0")
            _ip(f"-n {self._name} link set eth0 up")
            _ip(f"-n {self._name} link set lo up")
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_separate:
            self.kill_processes()
            _ip(f"link del {self._link}")
            _ip(f"netns del {self._name}")

    def kill_processes(self) -> None:
        """Kill all processes in this network, also stopped ones, as the end of a container does."""
        for pid in _ip(f"netns pids {self._name}").split() if self.is_separate else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def cut_off(self, role: str) -> None:
        """Lose all packets of the host to `role`. Connections stay open."""
        _ip(f"-n {self._name} neigh replace {self.address(role)} lladdr {WRONG_MAC} nud permanent dev eth0")

    def reconnect(self, role: str) -> None:
        """End `cut_off`."""
        _ip(f"-n {self._name} neigh del {self.address(role)} dev eth0")


def _ip(command: str) -> str:
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {command}: {done.stderr}"
    return done.stdout
