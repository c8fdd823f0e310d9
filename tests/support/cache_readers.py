"""Readers of what is kept: one who must find it, and one who is slow."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def must_not_run() -> bytes:
    """To be computed by nobody."""
    raise AssertionError("this was kept")


@contextmanager
def slow_reader(through: Callable[[str, Callable[[], bytes]], bytes]) -> Iterator[None]:
    """Somebody reads b"old" for "k" before the block, and is done with it only after the block."""
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
