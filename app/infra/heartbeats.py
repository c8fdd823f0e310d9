"""Proof that the processes of a host still work: each gives it from time to time; the launcher ends one that does not.

Before each proof a process waits for its turn to write the shared state. A process that is stopped while it has the
turn keeps all others from it; but its own last proof is the oldest, so it is ended first, and then the others go on.
"""

import threading
import time
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from app.infra.shared import SharedState

_BUSY_PAUSE_S = 1.0
_IDLE_PAUSE_S = 15.0
"""While nobody asks for anything, a process is not woken more often."""
_GRACE_NS = 8 * 10**9
"""How late a proof may be: far longer than on a busy machine."""
_BIRTH_GRACE_NS = 20 * 10**9
"""How long a new process may take to its first proof."""


class Beating(NamedTuple):
    """A process that gives proofs: its place, itself, and when it was born (time.monotonic)."""

    place: int
    process: BaseProcess
    born_s: float


def pause_s(state: SharedState) -> float:
    """How long to wait before the next proof, or the next look at those of others."""
    return _BUSY_PAUSE_S if state.is_asked else _IDLE_PAUSE_S


def beat(state: SharedState, place: int) -> None:
    """Give a proof of the current process, and wait until the next one is due."""
    state.await_turn()
    wait_s = pause_s(state)
    state.beats[place] = time.monotonic_ns() + int(1e9 * wait_s)
    time.sleep(wait_s)


def start_beating(state: SharedState, place: int) -> None:
    """Give proofs of the current process until it ends, in a thread."""

    def go_on() -> None:
        while True:
            beat(state, place)

    threading.Thread(target=go_on, name="heartbeat", daemon=True).start()


def reset(state: SharedState, place: int) -> None:
    """Forget the proofs of the process that had this place before."""
    state.beats[place] = 0


def stuck(state: SharedState, processes: Iterable[Beating]) -> Beating | None:
    """The process whose proof is the most overdue; None: none is."""
    due = {one: state.beats[one.place] or int(1e9 * one.born_s) + _BIRTH_GRACE_NS for one in processes}
    latest = min(due, key=due.__getitem__, default=None)
    return latest if latest is not None and time.monotonic_ns() > due[latest] + _GRACE_NS else None
