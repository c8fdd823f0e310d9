"""The rule of growth, on series that are made up: what has to be found, and what must not be."""

import math
import random
from collections.abc import Callable, Sequence

import pytest

from tests.soak.growth import FEWEST, Trend, theil_sen, trend, warm_up_s
from tests.soak.measures import MEASURES, trends
from tests.soak.report import growing, read_samples, table

COUNT, INTERVAL_S = 600, 10.0
SECONDS = [number * INTERVAL_S for number in range(COUNT)]
LEVEL, ALLOWED = 100.0, 10.0
Shape = Callable[[float], float]
"""From the share of the run that is over to the value."""


def judged(shape: Shape, noise: float = 0.0, seed: int = 1) -> Trend:
    source = random.Random(seed)  # noqa: S311 - nothing here is secret
    values = [LEVEL + shape(number / COUNT) + source.gauss(0, noise) for number in range(COUNT)]
    return trend(SECONDS, values, ALLOWED)


def flat(_: float) -> float:
    return 0.0


def saw_tooth(share: float, teeth: int = 16, height: float = 80.0) -> float:
    return height * (share * teeth % 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 5.0, 30.0])
def test_flat_noise_does_not_grow(noise: float, seed: int) -> None:
    assert not judged(flat, noise, seed).grows


@pytest.mark.parametrize("teeth", [10, 13, 16, 100])
def test_a_saw_tooth_does_not_grow(teeth: int) -> None:
    assert not judged(lambda share: saw_tooth(share, teeth)).grows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 10.0])
def test_a_slow_leak_grows(noise: float, seed: int) -> None:
    assert judged(lambda share: 25 * share, noise, seed).grows


def test_a_leak_below_what_is_allowed_does_not_count() -> None:
    assert not judged(lambda share: 10 * share).grows


def test_a_leak_in_a_saw_tooth_grows() -> None:
    assert judged(lambda share: saw_tooth(share) + 60 * share, 5.0).grows


def test_a_leak_by_steps_grows() -> None:
    assert judged(lambda share: 10 * math.floor(8 * share)).grows


def test_a_leak_that_becomes_faster_or_begins_late_grows() -> None:
    assert judged(lambda share: 50 * share**2).grows
    assert judged(lambda share: 100 * max(0.0, share - 0.6)).grows


@pytest.mark.parametrize("at", [0.05, 0.15, 0.3, 0.45, 0.55, 0.7, 0.9])
def test_a_single_step_after_the_warm_up_does_not_grow(at: float) -> None:
    assert not judged(lambda share: 50 * (share > at), 2.0).grows


@pytest.mark.parametrize("ends", [0.1, 0.2, 0.4])
def test_growth_that_levels_off_does_not_grow(ends: float) -> None:
    assert not judged(lambda share: 80 * (1 - math.exp(-3 * share / ends)), 2.0).grows
    assert not judged(lambda share: 80 * min(1.0, share / ends), 2.0).grows


def test_peaks_and_shrinking_do_not_grow() -> None:
    assert not judged(lambda share: 500 * (share % 0.1 > 0.08)).grows
    assert not judged(lambda share: -50 * share, 2.0).grows


def test_few_samples_decide_nothing() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend([1.0] * (FEWEST - 1), [1.0] * (FEWEST - 1), 1)


def test_the_slope_ignores_peaks() -> None:
    values = [2 * at + (1000 if number % 7 == 0 else 0) for number, at in enumerate(SECONDS)]
    assert theil_sen(SECONDS, values) == pytest.approx(2, abs=0.2)


def test_the_warm_up_is_a_tenth_of_a_long_run() -> None:
    assert (warm_up_s(7200), warm_up_s(60), warm_up_s(20)) == (720, 15, 10)


def samples(**changed: Shape) -> Sequence[dict[str, float]]:
    """Samples of all measures that are flat, but for the changed ones; names as in MEASURES, with _ for spaces."""
    shapes = {name.replace("_", " "): shape for name, shape in changed.items()}
    names = [measure.name for measure in MEASURES]
    others = {
        "table history, kB": 10.0,
        "indexes of history, kB": 5.0,
        "rows of history": 90.0,
        "search index of users, kB": 1.0,
    }
    counts = {"requests": 1.0, "writes": 1.0, "unavailable": 0.0, "problems": 0.0}
    assert shapes.keys() <= {*names}
    return [
        {
            "seconds": at,
            **counts,
            **others,
            **{name: 100 + shapes.get(name, flat)(at / SECONDS[-1]) for name in names},
        }
        for at in SECONDS
    ]


def test_each_measure_that_grows_is_named() -> None:
    found = samples(file_descriptors_of_launcher=lambda share: 50 * share, locks=lambda share: 5 * share)
    assert [line.partition(":")[0] for line in growing(found)] == ["file descriptors of launcher"]
    assert table("today", found).count("**grows**") == 1


def test_what_grows_in_the_warm_up_alone_is_left_out() -> None:
    found = samples(threads_of_launcher=lambda share: 1000 * min(share, 0.1))
    assert growing(found) == []
    assert {one.per_hour for one in trends(found).values()} == {0.0}


def test_a_line_that_is_not_complete_is_left_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("soak") / "samples.jsonl"
    file.write_text('{"run": "today"}\n{"seconds": 1}\n{"seco')
    assert read_samples(file) == ("today", [{"seconds": 1}])
