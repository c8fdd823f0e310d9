"""What the tests of the private servers look at: ways to be, parents to end, processes left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
NOBODY = "65534:65534"
# As root both ways to step down, as the machine would choose one and never try the other.
WAYS = [None, NOBODY] if IS_ROOT else [None]

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
    """Return all living processes that work in the folder or were started on it."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            inside = Path(process.cwd()).is_relative_to(folder)
            named = any(str(folder) in word for word in process.cmdline()[1:])
        except psutil.Error:
            continue
        if alive and (inside or named) and process.pid != os.getpid():
            found.append(process)
    return found


def wait_until_none_is_left(folder: Path, seconds: float = 10) -> None:
    """Fail when a process of the folder is still there after that time."""
    deadline = time.monotonic() + seconds
    while left := processes_of(folder):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)
