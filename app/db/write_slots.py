"""Limits concurrent writers, so that few connections wait for row locks of PostgreSQL."""

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from app.errors import N_, Busy, Message


class WriteSlots:
    """At most `count` concurrent writers, and one for each key (for example a user id). Safe for threads.

    Of several writers of a locked row, one waits in PostgreSQL, and the others wait here without a connection. So
    connections remain for reads and for writers of other rows.
    """

    def __init__(self, count: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._slots = threading.BoundedSemaphore(count)
        self._guard = threading.Lock()
        # A lock exists while a writer holds it or waits for it.
        self._locks: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()

    @contextmanager
    def slot(self, key: Hashable | None = None) -> Iterator[None]:
        """Hold a slot inside the block, the only one for `key`. Raises: Busy, after timeout_s"""
        until = time.monotonic() + self._timeout_s
        with self._guard:
            lock = self._locks.setdefault(object() if key is None else key, threading.Lock())
        with (
            _acquired(lock, until, N_("Several requests are changing the same data. Try again shortly.")),
            _acquired(self._slots, until, N_("Too many writes are waiting. Try again shortly.")),
        ):
            yield


@contextmanager
def _acquired(lock: "threading.Lock | threading.Semaphore", until: float, message: Message) -> Iterator[None]:
    """Hold `lock` inside the block. Raises: Busy, with `message`, if it can't be acquired by `until`"""
    if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
        raise Busy(message)
    try:
        yield
    finally:
        lock.release()
