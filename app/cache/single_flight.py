"""Concurrent requests that share work: single flight (one computation for all) and batching (one query for many)."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from app.cache.generations import Generations, clock_ns

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_MAX_BATCH = 100


class SingleFlight:
    """One computation of each key at a time in this process; requests that come meanwhile wait for its result.

    A request joins only while a value that was read when the computation began would be valid: else a read could be
    answered with what was there before a write that was answered before it.
    """

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._flights: dict[Hashable, _Flight] = {}

    def share(self, key: Hashable, keys: Iterable[str], compute: Callable[[], Value]) -> Value:
        """What `compute` returns, by this or by a concurrent call. If that fails, each computes for itself.

        `keys`: those whose change invalidates it. Raises: what `compute` raises
        """
        flight = _Flight(clock_ns())
        leader = self._flights.setdefault(key, flight)
        if leader is not flight:
            if not self._generations.may_be_used(self._generations.slots_of(keys), leader.began_ns):
                return compute()
            value: Value | None = leader.wait()
            return compute() if value is None else value
        try:
            flight.value = found = compute()
            return found
        finally:
            del self._flights[key]
            flight.land()


class _Flight:
    """One computation."""

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
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


class Batcher(Generic[Key, Value]):
    """Batches concurrent look-ups: one thread runs the query for all threads that wait. `look_up`: the query."""

    def __init__(self, look_up: Callable[[Sequence[Key]], Mapping[Key, Value]]) -> None:
        self._look_up = look_up
        self._waiting: deque[_Waiter[Key, Value]] = deque()
        self._turn = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value of `key` at some time after the call; None: there is none. Raises: what `look_up` raises"""
        waiter = _Waiter[Key, Value](key)
        self._waiting.append(waiter)
        with self._turn:
            while not waiter.is_served:
                self._serve()
        if waiter.error is not None:
            raise waiter.error
        return waiter.value

    def _serve(self) -> None:
        """Look up for those who have waited longest."""
        waiters = [self._waiting.popleft() for _ in range(min(_MAX_BATCH, len(self._waiting)))]
        found: Mapping[Key, Value] = {}
        error: Exception | None = None
        try:
            found = self._look_up([waiter.key for waiter in waiters])
        # Each of them raises it.
        except Exception as raised:  # noqa: BLE001
            error = raised
        for waiter in waiters:
            waiter.value, waiter.error, waiter.is_served = found.get(waiter.key), error, True


class _Waiter(Generic[Key, Value]):
    """A thread that waits for one key."""

    __slots__ = ("error", "is_served", "key", "value")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.value: Value | None = None
        self.error: Exception | None = None
        self.is_served = False
