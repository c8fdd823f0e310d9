"""Single flight (concurrent requests share one computation) and batching (concurrent look-ups share one query)."""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
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
        self._flights: dict[Hashable, tuple[int, Future[Any]]] = {}

    def share(self, key: Hashable, keys: Iterable[str], compute: Callable[[], Value]) -> Value:
        """The result of `compute`, from this or a concurrent call. If the concurrent call fails, compute.

        keys: a change of one of them invalidates the result. Raises: the errors of `compute`
        """
        own: Future[Value] = Future()
        began_ns, flight = self._flights.setdefault(key, (clock_ns(), own))
        if flight is own:
            try:
                own.set_result(compute())
            finally:
                del self._flights[key]
                # If there is no result, the waiting calls compute for themselves.
                own.cancel()
            return own.result()
        if self._generations.may_be_used(self._generations.slots_of(keys), began_ns):
            with contextlib.suppress(CancelledError):
                shared: Value = flight.result()
                return shared
        return compute()


@dataclass(slots=True)
class _Waiter(Generic[Key, Value]):
    """A thread that waits for one key."""

    key: Key
    value: Value | None = None
    error: Exception | None = None
    is_served: bool = False


class Batcher(Generic[Key, Value]):
    """Batches concurrent look-ups: one thread runs the query `look_up` for all waiting threads."""

    def __init__(self, look_up: Callable[[Sequence[Key]], Mapping[Key, Value]]) -> None:
        self._look_up = look_up
        self._waiting: list[_Waiter[Key, Value]] = []
        self._turn = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value of `key`, read after the call. None: there is no value. Raises: the errors of `look_up`"""
        waiter: _Waiter[Key, Value] = _Waiter(key)
        self._waiting.append(waiter)
        with self._turn:
            while not waiter.is_served:
                self._serve()
        if waiter.error is not None:
            raise waiter.error
        return waiter.value

    def _serve(self) -> None:
        """Run the query for the threads that have waited longest."""
        waiters = self._waiting[:_MAX_BATCH]
        del self._waiting[: len(waiters)]
        found: Mapping[Key, Value] = {}
        error: Exception | None = None
        try:
            found = self._look_up([waiter.key for waiter in waiters])
        # Each waiting thread raises it.
        except Exception as raised:  # noqa: BLE001
            error = raised
        for waiter in waiters:
            waiter.value, waiter.error, waiter.is_served = found.get(waiter.key), error, True
