"""Waits for conditions."""

import time
from collections.abc import Callable

BOUND_S = 1.0
"""Accepted delay where 100 ms are promised. It is generous, for a busy machine; tests print the measured times."""


def wait_until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait until `true()` holds. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"the condition does not hold after {seconds} s"
        time.sleep(0.01)
