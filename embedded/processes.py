"""Starts, stops and kills processes, so that none is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO

import psutil

POLL_S = 0.02
_CHILD_STARTER = Path(__file__).with_name("child_starter.py")
SAME = "same"  # the identity that child_starter.py leaves as it is


def spawn(
    command: Sequence[str],
    *,
    death_signal: signal.Signals,
    identity: str = SAME,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    source: int = subprocess.DEVNULL,
    output: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that gets `death_signal` when we die.

    `identity` is what child_starter.py says; `output` takes stdout and stderr, None means ours.
    `command[0]` is an absolute path. Where the kernel can not do so (not Linux), the next
    start finds what was left over.
    """
    starter = [sys.executable, "-I", "-S", str(_CHILD_STARTER)]
    argv = [*starter, str(os.getpid()), str(int(death_signal)), identity, *command]

    merged = None if output is None else subprocess.STDOUT

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, env=env, cwd=cwd, stdin=source, stdout=output, stderr=merged)

    return _starter(os.getpid()).submit(start).result()


def complete(
    command: Sequence[str],
    *,
    identity: str = SAME,
    env: Mapping[str, str] | None = None,
    typed: str = "",
) -> tuple[int, str]:
    """Run a program with the input `typed`. Returns its exit code and its output."""
    process = spawn(
        command,
        death_signal=signal.SIGKILL,
        identity=identity,
        env=env,
        source=subprocess.PIPE,
        output=subprocess.PIPE,
    )
    printed, _ = process.communicate(typed.encode())
    return process.returncode, printed.decode(errors="replace")


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a running process and its descendants, the process itself first."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to the processes that still run."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def kill(process: psutil.Process) -> None:
    """Kill a process and its descendants, and wait until they have ended."""
    # A stopped parent starts no child before it is killed.
    send([process], signal.SIGSTOP)
    victims = family(process)
    send(victims, signal.SIGKILL)
    for victim in victims:
        wait_gone(victim, seconds=10)


def wait_gone(process: psutil.Process, seconds: float) -> bool:
    """Wait until the process has ended (reaped or not). Returns False after the time-out."""
    deadline = time.monotonic() + seconds
    while _is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def ours(pid: int, mark: str) -> psutil.Process | None:
    """Return the process of that id if `mark` is in its command line, else None.

    Process ids are used again, after a power cut above all: without a mark that only our
    servers carry, another program could be stopped.
    """
    try:
        process = psutil.Process(pid)
        if mark in process.cmdline() and _is_alive(process):
            return process
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    return None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@cache
def _starter(_pid: int) -> ThreadPoolExecutor:
    """Return the one thread of this process that starts programs.

    Linux sends the death signal when the *thread* that started the program ends. This thread
    ends with the process, not with the caller. Cached by process id, because a fork has no threads.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-starter")
