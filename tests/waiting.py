"""How tests wait for what comes by itself."""

import time
from collections.abc import Callable


def wait_until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait until it is so, and fail when the time is up."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds} s it still is not so"
        time.sleep(0.01)
