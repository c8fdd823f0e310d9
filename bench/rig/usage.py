"""What processes use: CPU time and memory."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from embedded.processes import family


def cpu_s(pids: Iterable[int]) -> float:
    """CPU time, so far, of these processes and all that descend from them, ended ones included."""
    spent = 0.0
    for pid in pids:
        for process in family(psutil.Process(pid)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent += times.user + times.system + times.children_user + times.children_system
    return spent


def memory_mib(pid: int) -> float:
    """What this process and all that descend from it hold alone, and their share of what they hold together (PSS)."""
    return sum(pss_mib(process.pid) for process in family(psutil.Process(pid)))


def pss_mib(pid: int) -> float:
    """The same of one process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
