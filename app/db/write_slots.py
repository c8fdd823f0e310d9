"""Which writers may have a connection now: a bound on how many connections wait for row locks of PostgreSQL."""

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from app.errors import N_, Busy


class WriteTurns:
    """At most `most` writers at once, and one at a time for each key (a user, for example). Safe for threads.

    Of many writers who want one row that somebody else has locked, one waits in PostgreSQL, the others here without
    a connection. So the other connections stay for reads and for writers of other rows.
    """

    def __init__(self, most: int, longest_s: float) -> None:
        self._longest_s = longest_s
        self._places = threading.BoundedSemaphore(most)
        self._guard = threading.Lock()
        # Each lock with the number of writers who hold it or wait for it; gone with the last of them.
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def turn(self, key: Hashable | None = None) -> Iterator[None]:
        """Hold a place inside the block, and the only one for `key`. Raises: Busy, when it takes too long"""
        until = time.monotonic() + self._longest_s
        if key is None:
            with self._place(until):
                yield
            return
        lock = self._entered(key)
        try:
            if not lock.acquire(timeout=self._longest_s):
                raise Busy(N_("Several others are changing the same right now. Try again shortly."))
            try:
                with self._place(until):
                    yield
            finally:
                lock.release()
        finally:
            self._leave(key)

    @contextmanager
    def _place(self, until: float) -> Iterator[None]:
        if not self._places.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Busy(N_("Too many changes wait for others. Try again shortly."))
        try:
            yield
        finally:
            self._places.release()

    def _entered(self, key: Hashable) -> threading.Lock:
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
