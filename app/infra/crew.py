"""Threads that wait for requests: few of many, while there is much to do.

Who waits for a request is woken by the next one and then waits for the interpreter. With many, most of what an answer
from memory costs is waking threads in turn; with few, who is done takes the next request without a sleep.
"""

from __future__ import annotations

import threading
import time

_LONGEST_REST_S = 1.0
_FORGOTTEN_AFTER_S = 1.0
"""Who was not seen for so long waits for requests still, or has ended: then there is no crowd, or nobody."""


class Crew:
    """Of one process. `most`: how many wait for requests, or answer from memory, at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ready: dict[int, float] = {}
        self._resting: list[tuple[int, threading.Lock]] = []
        self._lock = threading.Lock()

    def leave(self) -> None:
        """What this thread does now may take long: another one waits for requests in its place."""
        with self._lock:
            if self._ready.pop(threading.get_ident(), None) is not None and self._resting:
                thread, rest = self._resting.pop()
                self._ready[thread] = time.monotonic()
                rest.release()

    def done(self) -> None:
        """A request was answered: return when this thread is to wait for the next one."""
        thread = threading.get_ident()
        if thread in self._ready:
            self._ready[thread] = time.monotonic()
            return
        rest = self._rest_of(thread)
        if rest is not None and not rest.acquire(timeout=_LONGEST_REST_S):
            with self._lock:
                if (thread, rest) in self._resting:
                    self._resting.remove((thread, rest))

    def _rest_of(self, thread: int) -> threading.Lock | None:
        """What is released when this thread is needed; None: it is needed."""
        with self._lock:
            now = time.monotonic()
            if len(self._ready) >= self._most:
                self._ready = {one: seen for one, seen in self._ready.items() if now - seen < _FORGOTTEN_AFTER_S}
            if len(self._ready) < self._most:
                self._ready[thread] = now
                return None
            rest = threading.Lock()
            rest.acquire()
            self._resting.append((thread, rest))
            return rest
