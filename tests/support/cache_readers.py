"""Reads through the local cache, and functions that compute its values: one is slow, one must not be called."""

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from app.cache.generations import clock_ns
from app.cache.local import LocalCache


def get_or_compute(cache: LocalCache, key: Hashable, keys: Iterable[str], compute: Callable[[], Any]) -> Any:
    """The value of `key`. If there is no valid value, compute and cache it, as app.auth does."""
    found = cache.get(key)
    if found is None:
        began_ns = clock_ns()
        found = compute()
        cache.put(key, found, keys, began_ns)
    return found


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
