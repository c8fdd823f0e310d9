"""CPU time and memory of processes."""

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from embedded.processes import family


def cpu_s(pids: Iterable[int]) -> float:
    """CPU time so far of these processes and their descendants, including ended ones."""
    spent = 0.0
    for pid in pids:
        for process in family(psutil.Process(pid)):
            with suppress(psutil.NoSuchProcess, OSError):
                ended = process.cpu_times()
                spent += time.clock_gettime(_clock_of(process.pid)) + ended.children_user + ended.children_system
    return spent


def _clock_of(pid: int) -> int:
    """The clock of the CPU time of a process, see clock_getcpuclockid(3): /proc counts in steps of 10 ms."""
    return (~pid << 3) | 2


def memory_mib(pid: int) -> float:
    """PSS of this process and its descendants, in MiB."""
    return sum(pss_mib(process.pid) for process in family(psutil.Process(pid)))


def pss_mib(pid: int) -> float:
    """PSS of one process, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
