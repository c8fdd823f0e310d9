"""Limits the CPU time of processes by a control group of Linux, as a container engine does."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

MISSING = "the CPU time of the service cannot be limited: that needs Linux, root, two cores and the cpu controller"
PERIOD_US = 100_000
"""The period of Docker and Kubernetes."""
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


def is_possible() -> bool:
    """Whether this machine can limit the CPU time, and has a core for the clients."""
    if os.geteuid() != 0 or (os.cpu_count() or 1) < 2:
        return False
    return os.access(_V1 / "cpu.cfs_quota_us", os.W_OK) or _has_v2()


def _has_v2() -> bool:
    controllers = _V2 / "cgroup.controllers"
    return controllers.exists() and "cpu" in controllers.read_text().split()


class CpuLimit:
    """A control group whose processes together may use this share of a core. Use it as a context manager.

    Its processes must have ended when the block ends.
    """

    def __init__(self, cores: float) -> None:
        self._quota_us, self._is_v2 = int(cores * PERIOD_US), _has_v2()
        self._folder = (_V2 if self._is_v2 else _V1) / f"overload-{os.getpid()}"

    def __enter__(self) -> Self:
        if self._is_v2:
            (_V2 / "cgroup.subtree_control").write_text("+cpu")
        self._folder.mkdir()
        if self._is_v2:
            (self._folder / "cpu.max").write_text(f"{self._quota_us} {PERIOD_US}")
        else:
            (self._folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self._folder / "cpu.cfs_quota_us").write_text(str(self._quota_us))
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + 10
        while (self._folder / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._folder.rmdir()

    def add(self, pids: Iterable[int]) -> None:
        """Limit these processes, with all that they start."""
        for pid in pids:
            (self._folder / "cgroup.procs").write_text(str(pid))

    def periods(self) -> tuple[int, int]:
        """How many periods the processes wanted to run in, and in how many of them they used up their time."""
        values = dict(line.split() for line in (self._folder / "cpu.stat").read_text().splitlines())
        return int(values["nr_periods"]), int(values["nr_throttled"])
