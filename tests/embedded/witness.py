"""Scripts that start private servers, and the processes that they leave."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
NOBODY = "65534:65534"
# As root both ways to step down, as the machine would choose one and never try the other.
WAYS = [None, NOBODY] if IS_ROOT else [None]

_SERVERS = ("postgres", "redis-server")
_seen: dict[Path, set[psutil.Process]] = {}
"""What was found in a folder before: an orphan may say nothing of it any more."""

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")


class Script:
    """A Python program in a process of its own, started in the project's folder."""

    def __init__(self, text: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", text, *arguments],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed: list[str] = []

    @property
    def output(self) -> IO[str]:
        """What it prints, errors as well."""
        assert self.process.stdout is not None
        return self.process.stdout

    def line_with(self, word: str) -> str:
        """Read on until a line has the word, and return that line."""
        for line in self.output:
            self.printed.append(line.rstrip("\n"))
            if word in line:
                return self.printed[-1]
        raise AssertionError(f"{word!r} did not come:\n" + "\n".join(self.printed))

    def rest(self) -> str:
        """Read to the end and return all that was printed."""
        self.printed += self.output.read().splitlines()
        self.process.wait()
        return "\n".join(self.printed)

    def end(self, number: signal.Signals) -> int:
        """Signal it, wait for its end and return its exit code."""
        self.process.send_signal(number)
        self.rest()
        return self.process.returncode


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return all living processes that work in the folder, were started on it, or descend from such a one.

    Raises: AssertionError, when there is one of which nobody may tell where it belongs
    """
    found, hidden = set(), set()
    for process in psutil.process_iter():
        try:
            named = any(str(folder) in word for word in process.cmdline()[1:])
            inside = named or Path(process.cwd()).is_relative_to(folder)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            # In a container root may not read where another user's process works.
            inside = False
            hidden.add(process)
        if inside:
            found.add(process)
    for process in list(found):
        with suppress(psutil.NoSuchProcess):
            found.update(process.children(recursive=True))
    found |= _seen.get(folder, set())
    _require_known(hidden - found)
    living = {process for process in found if process.pid != os.getpid() and _is_alive(process)}
    _seen.setdefault(folder, set()).update(living)
    return sorted(living, key=lambda process: process.pid)


def wait_until_none_is_left(folder: Path, seconds: float = 10) -> None:
    """Fail when a process of the folder is still there after that time."""
    deadline = time.monotonic() + seconds
    while left := processes_of(folder):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def _require_known(hidden: set[psutil.Process], seconds: float = 15) -> None:
    """Fail when an orphaned server stays whose folder may not be read. Those of tests beside this one end soon."""
    deadline = time.monotonic() + seconds
    while lost := [process for process in hidden if _is_orphaned_server(process)]:
        assert time.monotonic() < deadline, f"whose are these? {lost}"
        time.sleep(0.05)


def _is_orphaned_server(process: psutil.Process) -> bool:
    try:
        return _is_alive(process) and process.name() in _SERVERS and process.ppid() in (0, 1)
    except psutil.NoSuchProcess:
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
