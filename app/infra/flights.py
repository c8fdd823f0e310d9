"""Computations that several threads want at once: one does it, the others wait for it."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Value = TypeVar("Value")


class Flights:
    """What is under way in this process."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Flight] = {}

    def share(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        """What `compute` gives, once for all who ask for `key` meanwhile. If it fails, each tries for itself."""
        flight = _Flight()
        leader = self._under_way.setdefault(key, flight)
        if leader is not flight:
            value: Value | None = leader.wait()
            return compute() if value is None else value
        try:
            flight.value = found = compute()
            return found
        finally:
            del self._under_way[key]
            flight.land()


class _Flight:
    """One computation. A lock is a third of the price of an Event."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self) -> Any:
        """Its value; None: it failed."""
        with self._lock:
            return self.value

    def land(self) -> None:
        """Let the others go on."""
        self._lock.release()
