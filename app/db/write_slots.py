"""Limits concurrent writers, so that few connections wait for row locks of PostgreSQL."""

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from app.errors import N_, Busy


class WriteSlots:
    """At most `count` concurrent writers, and one for each key (for example a user id). Safe for threads.

    Of several writers of a locked row, one waits in PostgreSQL, and the others wait here without a connection. So
    connections remain for reads and for writers of other rows.
    """

    def __init__(self, count: int, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._slots = threading.BoundedSemaphore(count)
        self._guard = threading.Lock()
        # For each key its lock, and the number of writers that hold it or wait for it. The last one deletes it.
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def slot(self, key: Hashable | None = None) -> Iterator[None]:
        """Hold a slot inside the block, the only one for `key`. Raises: Busy, after timeout_s"""
        until = time.monotonic() + self._timeout_s
        if key is None:
            with self._any_slot(until):
                yield
            return
        lock = self._enter(key)
        try:
            if not lock.acquire(timeout=self._timeout_s):
                raise Busy(N_("Several requests are changing the same data. Try again shortly."))
            try:
                with self._any_slot(until):
                    yield
            finally:
                lock.release()
        finally:
            self._leave(key)

    @contextmanager
    def _any_slot(self, until: float) -> Iterator[None]:
        if not self._slots.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Busy(N_("Too many writes are waiting. Try again shortly."))
        try:
            yield
        finally:
            self._slots.release()

    def _enter(self, key: Hashable) -> threading.Lock:
        with self._guard:
            lock, writers = self._locks.get(key) or (threading.Lock(), 0)
            self._locks[key] = lock, writers + 1
            return lock

    def _leave(self, key: Hashable) -> None:
        with self._guard:
            lock, writers = self._locks[key]
            if writers == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, writers - 1
