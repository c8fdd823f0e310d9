"""Counters in memory, which are used without Redis: the same windows, in bounded memory."""

from collections.abc import Callable

import pytest

from app.auth import counters, rate_limits
from app.auth.counters import FixedWindow, InMemoryCounters
from app.auth.rate_limits import RateLimits
from app.config import load_settings
from app.errors import Quota, RateLimited

MINUTE, HOUR = FixedWindow("minute", 2, 60), FixedWindow("hour", 3, 3600)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(counters, "time", clock)
    return clock


def test_an_attempt_refused_by_one_window_does_not_count_in_later_windows(clock: Clock) -> None:
    counts = InMemoryCounters()
    seen = [counts.increment([MINUTE, HOUR]) for _ in range(4)]
    assert [(count.window, count.value) for count in seen] == [(HOUR, 1), (HOUR, 2), (MINUTE, 3), (MINUTE, 4)]
    clock.now_s += 60
    assert counts.increment([MINUTE, HOUR]).value == 3
    assert counts.increment([MINUTE, HOUR]) == (HOUR, 4, 3540)


def test_a_window_begins_with_the_first_increment_and_has_a_fixed_length(clock: Clock) -> None:
    counts, resets = InMemoryCounters(), []
    for _ in range(4):
        resets.append(counts.increment([MINUTE]).remaining_s)
        clock.now_s += 25.5
    assert resets == [60, 34.5, 9, 60]


def test_a_reset_counter_starts_a_new_window(clock: Clock) -> None:
    counts = InMemoryCounters()
    for _ in range(3):
        counts.increment([MINUTE, HOUR])
    counts.reset(["minute", "nobody's"])
    clock.now_s += 1
    assert counts.increment([MINUTE]) == (MINUTE, 1, 60)
    assert counts.increment([HOUR]).value == 3


def test_the_least_recently_used_counter_is_dropped_above_the_maximum(clock: Clock) -> None:
    counts = InMemoryCounters(max_counters=3)
    windows = [FixedWindow(name, 9, 60 if name == "a" else 120) for name in "abcd"]
    for window in windows[:3]:
        counts.increment([window])
    clock.now_s += 60
    counts.increment(windows[:1])
    counts.increment(windows[3:])
    assert counts.increment(windows[:1]).value == 2, "a began anew, so b was not used for longest"
    assert counts.values("abcd") == [2, 0, 1, 1]


@pytest.fixture
def limits(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], RateLimits]:
    """Limits of so many writes per minute, without Redis. A fiftieth of them is reserved at once."""
    monkeypatch.setattr(rate_limits, "time", clock)

    def build(writes: int) -> RateLimits:
        limits = RateLimits(load_settings({}, write_rate_per_minute=writes))
        # No thread probes Redis, so it stays unavailable.
        limits.breaker.up = False
        return limits

    return build


def test_reserved_writes_count_like_single_increments(limits: Callable[[int], RateLimits]) -> None:
    counted = limits(210)
    given = [counted.count_write("credential") for _ in range(210)]
    assert [quota.remaining for quota in given if quota] == [*reversed(range(210))]
    for _ in range(9):
        with pytest.raises(RateLimited) as refused:
            counted.count_write("credential")
        assert refused.value.quota.remaining == 0, "of the last step only what fits"
    assert counted.count_write("another") == Quota("writes", 210, 60, 209, 60)


def test_reserved_writes_end_with_their_window(clock: Clock, limits: Callable[[int], RateLimits]) -> None:
    counted = limits(200)
    assert counted.count_write("credential") == Quota("writes", 200, 60, 199, 60)
    clock.now_s += 59.5
    assert counted.count_write("credential") == Quota("writes", 200, 60, 198, 1), "in its last second as in its first"
    clock.now_s += 0.5
    assert counted.count_write("credential") == Quota("writes", 200, 60, 199, 60)


def test_writes_reserved_in_the_last_second_can_be_used(clock: Clock, limits: Callable[[int], RateLimits]) -> None:
    counted = limits(100)
    for _ in range(2):
        counted.count_write("credential")
    clock.now_s += 59.7
    assert [quota.remaining for _ in range(2) if (quota := counted.count_write("credential"))] == [97, 96]
