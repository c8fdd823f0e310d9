"""Measures a start without Docker (`python -m embedded.run`), and code that both kinds of starts share."""

import http.client
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Protocol, Self

import psutil

from embedded import Postgres
from embedded.ports import HOST, free_port
from embedded.processes import family, spawn
from rig import DATA, ROOT
from rig.usage import pss_mib

IMPORT = ("-c", "import flask, flask_sqlalchemy")
"""Arguments of Python for the imports that any such service needs."""
SETTLE_S = 3.0
LONGEST_S = 120.0
_STOP_S = 40
# No other variables of the shell: its settings are for another stack.
ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG", "DOCKER_HOST") if name in os.environ}

Figures = dict[str, float]


class Way(Protocol):
    """One kind of start. Seconds by name: ours has `cold` and `warm`; the reference has `import`, `cold` and `warm`."""

    @property
    def title(self) -> str:
        """The heading of its tables."""

    @property
    def memory_title(self) -> str:
        """The heading of the memory table."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def ours(self) -> tuple[Figures, Figures]:
        """Start twice, the first time without data. Returns seconds, and the MiB of each part at rest."""

    def reference(self) -> Figures:
        """The minimum of such a stack: import Flask, start the same PostgreSQL twice, first without data."""


class Local:
    """Without Docker, in a separate data folder."""

    title = "Without Docker: `python -m embedded.run`, which `make run` calls"
    memory_title = "memory at rest, PSS"

    def __init__(self, postgres: int) -> None:
        self._postgres, self._folder, self._log = postgres, DATA / "start", DATA / "start.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._log.unlink(missing_ok=True)

    def ours(self) -> tuple[Figures, Figures]:
        """See Way."""
        shutil.rmtree(self._folder, ignore_errors=True)
        DATA.mkdir(parents=True, exist_ok=True)
        cold, _ = self._start()
        warm, memory = self._start()
        return {"cold": cold, "warm": warm}, memory

    def reference(self) -> Figures:
        """See Way."""
        shutil.rmtree(self._folder, ignore_errors=True)
        importing = seconds(lambda: subprocess.run([sys.executable, *IMPORT], check=True, cwd=ROOT))
        server = Postgres(self._folder / "postgres", self._postgres)
        cold = seconds(server.start)
        server.stop()
        warm = seconds(server.start)
        server.stop()
        return {"import": importing, "cold": cold, "warm": warm}

    def _start(self) -> tuple[float, Figures]:
        port = free_port()
        command = [sys.executable, "-m", "embedded.run", "--data", str(self._folder)]
        with self._log.open("wb") as log:
            began = time.monotonic()
            process = spawn(
                [*command, "--postgres", str(self._postgres)],
                death_signal=signal.SIGTERM,
                env={**ENVIRON, "PORT": str(port)},
                cwd=ROOT,
                output=log,
            )
        try:
            wait_until(lambda: is_ready(port))
            took = time.monotonic() - began
            time.sleep(SETTLE_S)
            return took, _memory(psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(_STOP_S)


def seconds(action: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until a condition is true. Raises: TimeoutError"""
    deadline = time.monotonic() + LONGEST_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready after {LONGEST_S:g} s")
        time.sleep(0.01)


def is_ready(port: int) -> bool:
    """Whether a service on this port reports that it is ready."""
    client = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        client.request("GET", "/api/health/ready")
        return client.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def rounds(way: Way, count: int, chance: random.Random) -> tuple[list[Figures], list[Figures], list[Figures]]:
    """Seconds of ours, MiB of ours, and seconds of the reference. They take turns in random order."""
    ours: list[Figures] = []
    memory: list[Figures] = []
    reference: list[Figures] = []

    def measure_ours() -> None:
        took, held = way.ours()
        ours.append(took)
        memory.append(held)

    for number in range(1, count + 1):
        sys.stderr.write(f"Round {number} of {count}\n")
        for measure in chance.sample([measure_ours, lambda: reference.append(way.reference())], 2):
            measure()
    return ours, memory, reference


def _memory(launcher: psutil.Process) -> Figures:
    """The PSS of each part of the stack, in MiB."""
    held: Figures = {}
    for process in family(launcher):
        part = _part(process, launcher)
        held[part] = held.get(part, 0.0) + pss_mib(process.pid)
    return held


def _part(process: psutil.Process, launcher: psutil.Process) -> str:
    """The part of the stack of a process: the name of its direct child, because children rename themselves."""
    if process == launcher:
        return "embedded.run itself"
    while (parent := process.parent()) is not None and parent != launcher:
        process = parent
    name = " ".join(process.cmdline())
    return "postgres" if "postgres" in process.name() else "redis" if "redis" in name else "web"
