"""One turn: wrk sends requests to one contender for some seconds, and the CPU time of all processes is measured."""

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from embedded.ports import HOST
from rig import DATA
from rig.contenders import Running
from rig.usage import cpu_s

_SCRIPT = Path(__file__).with_name("load.lua")
_THREADS = 1
"""Threads of wrk. With one thread it uses at most one core."""
_TIMEOUT_S = 60
_QUIET_CPU_S = 0.01
_LOOK_EVERY_S = 0.2
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Draws:
    """Lines of a file that fill in requests, repeatedly: `count` lines from the byte `offset` on.

    The first line used is the one after `start`.
    """

    path: Path
    offset: int
    count: int
    start: int = 0


@dataclass(frozen=True)
class Load:
    """The requests of one turn, and its length. `requests` are methods, paths and bodies, sent in turn.

    tokens: headers that authenticate; each request is sent with each in turn. Empty: those of the contender.
    """

    requests: tuple[tuple[str, str, str], ...]
    draws: Draws | None
    connections: int
    seconds: int
    stem: str
    tokens: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Turn:
    """The results of one turn; CPU in µs per request."""

    per_s: float
    cpu_us: float
    database_cpu_us: float
    p50_ms: float
    p99_ms: float
    lost: int
    """Broken connections, and responses that came too late."""


def drive(contender: Running, load: Load, database_pids: Iterable[int]) -> Turn:
    """Send `load`, then wait until all processes are idle. Raises: SystemExit, when a response is an error"""
    plan = DATA / "plan.txt"
    plan.write_text(_plan(contender, load), encoding="utf-8")
    command = ["wrk", f"-t{_THREADS}", f"-c{load.connections}", f"-d{load.seconds}s", f"--timeout={_TIMEOUT_S}s"]
    command += ["-s", str(_SCRIPT), f"http://{HOST}:{contender.port}", "--", str(plan)]
    pids = list(database_pids)
    own, databases = cpu_s([contender.pid]), cpu_s(pids)
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=load.seconds + _TIMEOUT_S)
    own, databases = cpu_s([contender.pid]) - own, cpu_s(pids) - databases
    line = next((line for line in ran.stdout.splitlines() if line.startswith("RESULT ")), None)
    if ran.returncode != 0 or line is None:
        sys.exit(f"Error: wrk failed on {contender.title}: {ran.stderr or ran.stdout}")
    _await_quiet([contender.pid, *pids])
    return _turn(contender, orjson.loads(line.removeprefix("RESULT ")), own, databases)


def _turn(contender: Running, counted: dict[str, int], own_s: float, databases_s: float) -> Turn:
    if counted["statuses"]:
        sys.exit(f"Error: {contender.title} answered {counted['statuses']} of {counted['requests']} with an error.")
    requests = max(counted["requests"], 1)
    return Turn(
        per_s=1e6 * counted["requests"] / counted["us"],
        cpu_us=1e6 * own_s / requests,
        database_cpu_us=1e6 * databases_s / requests,
        p50_ms=counted["p50_us"] / 1000,
        p99_ms=counted["p99_us"] / 1000,
        lost=counted["sockets"] + counted["timeouts"],
    )


def _plan(contender: Running, load: Load) -> str:
    headers = {**contender.headers, "Content-Type": "application/json"}
    draws = [load.draws] if load.draws else []
    lines = [
        *(("header", name, value) for name, value in headers.items()),
        *(("draws", str(d.path), str(d.offset), str(d.count), str(d.start)) for d in draws),
        ("stem", load.stem),
        *(
            ("request", *request, token.get("Authorization", ""))
            for token in load.tokens or ({},)
            for request in load.requests
        ),
    ]
    return "".join("\t".join(line) + "\n" for line in lines)


def _await_quiet(pids: list[int]) -> None:
    """Wait until these processes are idle: the last requests may still be computed when wrk has ended."""
    deadline = time.monotonic() + _LONGEST_WAIT_S
    before = cpu_s(pids)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        now = cpu_s(pids)
        if now - before <= _QUIET_CPU_S:
            return
        before = now
