"""A thread pool for blocking functions of an event loop.

The executors of concurrent.futures have locks, conditions and a second future for each call, which cost 35 µs of CPU.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
_Job = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class ThreadPool:
    """At most `max_threads` threads. Each is started on demand, and ends with the process."""

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        # Only the event loop reads and writes these.
        self._started = self._unfinished = 0
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def run(self, function: Callable[..., Result], *args: Any) -> "asyncio.Future[Result]":
        """Call `function` in a thread. Only one event loop may call this method."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._unfinished += 1
        if self._started < min(self._unfinished, self._max_threads):
            self._started += 1
            threading.Thread(target=self._work, name=f"request-{self._started}", daemon=True).start()
        self._jobs.put((future, function, args))
        return future

    def _work(self) -> None:
        while True:
            future, function, args = self._jobs.get()
            result = error = None
            try:
                result = function(*args)
            # The caller that awaits the future raises it.
            except Exception as raised:  # noqa: BLE001
                error = raised
            future.get_loop().call_soon_threadsafe(self._finish, future, result, error)

    def _finish(self, future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        self._unfinished -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
