"""The random choices of a test."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Rounds:
    """The rounds of a test, and its random choices, which repeat if the seed and the number of rounds are the same."""

    seed: int
    chance: random.Random
    seconds: float

    def __call__(self, at_least: int) -> Iterator[int]:
        """Numbers from 0 on: `at_least` of them, then more until the time of the test is over."""
        deadline, number = time.monotonic() + self.seconds, 0
        while number < at_least or time.monotonic() < deadline:
            yield number
            number += 1
