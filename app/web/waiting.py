"""How many threads may wait for bodies: who sends one slowly holds a thread, and must leave most of them to others."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Unavailable
from app.extensions import Resources, resources

_PATIENCE_S = 0.1


class _Turns:
    """Half of the threads for who is known, and a quarter for everybody else."""

    def __init__(self, held: Resources) -> None:
        quarter = max(1, held.settings.threads // 4)
        self.known, self.unknown = threading.BoundedSemaphore(2 * quarter), threading.BoundedSemaphore(quarter)


@contextmanager
def body_awaited(*, known: bool) -> Iterator[None]:
    """Wait for a body inside the block. Raises: Unavailable, when too many wait already"""
    turns = resources().part(_Turns)
    turn = turns.known if known else turns.unknown
    if not turn.acquire(timeout=_PATIENCE_S):
        raise Unavailable("Too many requests are slow to send their bodies. Try again shortly.")
    try:
        yield
    finally:
        turn.release()
