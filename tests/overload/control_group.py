"""Control groups of Linux: one limits the CPU time of the service, as a container engine does."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

MISSING = "the CPU time of the service cannot be limited: that needs Linux, root, two cores and the cpu controller"
PERIOD_US = 100_000
"""The period of Docker and Kubernetes."""
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_END_S = 10.0


def is_possible() -> bool:
    """Whether this machine can limit the CPU time, and has a core for the clients."""
    if os.geteuid() != 0 or (os.cpu_count() or 1) < 2:
        return False
    return os.access(_V1 / "cpu.cfs_quota_us", os.W_OK) or _is_v2()


def _is_v2() -> bool:
    controllers = _V2 / "cgroup.controllers"
    return controllers.exists() and "cpu" in controllers.read_text().split()


class ControlGroup:
    """A control group that runs before all other processes of the machine. Use it as a context manager.

    Its processes must end before the block ends. cores: the CPU time that they may use together; None: no limit.
    """

    def __init__(self, name: str, cores: float | None = None) -> None:
        own = f"overload-{os.getpid()}-{name}"
        if _is_v2():
            quota = "max" if cores is None else str(int(cores * PERIOD_US))
            self._folder, files = _V2 / own, {"cpu.weight": "10000", "cpu.max": f"{quota} {PERIOD_US}"}
        else:
            quota = "-1" if cores is None else str(int(cores * PERIOD_US))
            self._folder = _V1 / own
            files = {"cpu.shares": "262144", "cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": quota}
        self._files = files

    def __enter__(self) -> Self:
        if _is_v2():
            (_V2 / "cgroup.subtree_control").write_text("+cpu")
        self._folder.mkdir()
        for name, text in self._files.items():
            (self._folder / name).write_text(text)
        return self

    def __exit__(self, *_: object) -> None:
        (self._folder.parent / "cgroup.procs").write_text(str(os.getpid()))
        deadline = time.monotonic() + _END_S
        while (self._folder / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._folder.rmdir()

    def add(self, pids: Iterable[int]) -> None:
        """Add these processes. What they start belongs to the group as well."""
        for pid in pids:
            (self._folder / "cgroup.procs").write_text(str(pid))

    def periods(self) -> tuple[int, int]:
        """In how many periods a process ran, and in how many of them the limit was reached."""
        values = dict(line.split() for line in (self._folder / "cpu.stat").read_text().splitlines())
        return int(values["nr_periods"]), int(values["nr_throttled"])
