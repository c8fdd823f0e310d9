"""Single flight (concurrent requests share one computation) and batching (concurrent look-ups share one query)."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from app.cache.generations import Generations, clock_ns

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_MAX_BATCH = 100


class SingleFlight:
    """At most one computation of each key at a time in this process. Concurrent requests wait for its result.

    A request joins a computation only if a value that was read at its start would be valid. Otherwise the value could
    be older than a write that precedes the request.
    """

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._flights: dict[Hashable, _Flight] = {}

    def share(self, key: Hashable, keys: Iterable[str], compute: Callable[[], Value]) -> Value:
        """The result of `compute`, from this or a concurrent call. If the concurrent call fails, compute.

        keys: a change of one of them invalidates the result. Raises: the errors of `compute`
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
            flight.finish()


class _Flight:
    """A computation in progress."""

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.value: Any = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self) -> Any:
        """Wait for the value. None: the computation failed."""
        with self._lock:
            return self.value

    def finish(self) -> None:
        """Release the waiting threads."""
        self._lock.release()


class Batcher(Generic[Key, Value]):
    """Batches concurrent look-ups: one thread runs the query `look_up` for all waiting threads."""

    def __init__(self, look_up: Callable[[Sequence[Key]], Mapping[Key, Value]]) -> None:
        self._look_up = look_up
        self._waiting: deque[_Waiter[Key, Value]] = deque()
        self._turn = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value of `key`, read after the call. None: there is no value. Raises: the errors of `look_up`"""
        waiter = _Waiter[Key, Value](key)
        self._waiting.append(waiter)
        with self._turn:
            while not waiter.is_served:
                self._serve()
        if waiter.error is not None:
            raise waiter.error
        return waiter.value

    def _serve(self) -> None:
        """Run the query for the threads that have waited longest."""
        waiters = [self._waiting.popleft() for _ in range(min(_MAX_BATCH, len(self._waiting)))]
        found: Mapping[Key, Value] = {}
        error: Exception | None = None
        try:
            found = self._look_up([waiter.key for waiter in waiters])
        # Each waiting thread raises it.
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
