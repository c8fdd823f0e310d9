"""The random choices of the attacks can be repeated."""

import random

from tests.attack.rounds import Rounds


def choices(seed: int) -> list[int]:
    rounds = Rounds(seed, random.Random(seed), 0)  # noqa: S311 - it chooses tests, no secrets
    return [rounds.chance.randrange(1000) for _ in rounds(5)]


def test_a_seed_repeats_the_choices() -> None:
    assert choices(1) == choices(1)
    assert choices(1) != choices(2)


def test_a_test_makes_the_rounds_that_it_asks_for(rounds: Rounds) -> None:
    assert list(rounds(3))[:3] == [0, 1, 2]
