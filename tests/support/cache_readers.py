"""Functions that compute cached values: one that must not be called, and one that is slow."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def must_not_run() -> bytes:
    """A computation that must not be called, because the value is cached."""
    raise AssertionError("the value was not cached")


@contextmanager
def slow_reader(through: Callable[[str, Callable[[], bytes]], bytes]) -> Iterator[None]:
    """A thread starts to compute b"old" for "k" before the block, and ends after the block."""
    computed, go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        computed.set()
        assert go_on.wait(5)
        return b"old"

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(through, "k", slowly)
        assert computed.wait(5)
        try:
            yield
        finally:
            go_on.set()
        assert reading.result() == b"old"
