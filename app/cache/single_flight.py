"""Single flight (concurrent requests share one computation) and batching (concurrent calls share one statement)."""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
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

    def share(self, key: Hashable, depends_on: Iterable[str], compute: Callable[[], Value]) -> Value:
        """The result of `compute`, from this or a concurrent call. If the concurrent call fails, compute.

        depends_on: a change of one of these keys invalidates the result. Raises: the errors of `compute`
        """
        own: Future[Value] = Future()
        # Atomic: of concurrent calls, one finds its own future and computes.
        began_ns, flight = self._flights.setdefault(key, (clock_ns(), own))
        if flight is own:
            try:
                own.set_result(compute())
            finally:
                del self._flights[key]
                # If there is no result, the waiting calls compute for themselves.
                own.cancel()
            return own.result()
        if self._generations.may_be_used(self._generations.slots_of(depends_on), began_ns):
            with contextlib.suppress(CancelledError):
                shared: Value = flight.result()
                return shared
        return compute()


class Batcher(Generic[Key, Value]):
    """Batches concurrent calls: one thread calls `execute_batch` with the keys of all waiting threads.

    execute_batch: reads or writes, and returns the result of each key. A key without a result is missing.
    """

    def __init__(self, execute_batch: Callable[[Sequence[Key]], Mapping[Key, Value]]) -> None:
        self._execute_batch = execute_batch
        self._waiting: list[tuple[Key, Future[Value | None]]] = []
        self._turn = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The result of `key`, computed after the call. None: there is none. Raises: the errors of `execute_batch`"""
        result: Future[Value | None] = Future()
        self._waiting.append((key, result))
        with self._turn:
            while not result.done():
                self._serve()
        return result.result()

    def _serve(self) -> None:
        """Call `execute_batch` for the threads that have waited longest. Other threads only append to the list."""
        batch = self._waiting[:_MAX_BATCH]
        del self._waiting[: len(batch)]
        keys, results = zip(*batch, strict=True)
        try:
            found = self._execute_batch(keys)
        # Each waiting thread raises it.
        except Exception as error:  # noqa: BLE001
            for result in results:
                result.set_exception(error)
        else:
            for key, result in batch:
                result.set_result(found.get(key))
