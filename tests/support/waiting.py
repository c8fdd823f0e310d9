"""How tests wait for what comes by itself."""

import time
from collections.abc import Callable

BOUND_S = 1.0
"""Far above the promise of 100 ms, for a busy machine; the measured times are printed."""


def wait_until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait until it is so, and fail when the time is up."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds} s it still is not so"
        time.sleep(0.01)
