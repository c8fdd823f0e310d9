"""Counters in memory, which are used without Redis: the same windows, in bounded memory."""

import pytest

from app.auth import counters
from app.auth.counters import FixedWindow, InMemoryCounters, ReservedQuota

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
    assert [(count.window, count.value, count.over_limit_by) for count in seen] == [
        (HOUR, 1, -2),
        (HOUR, 2, -1),
        (MINUTE, 3, 1),
        (MINUTE, 4, 2),
    ]
    clock.now_s += 60
    assert counts.increment([MINUTE, HOUR]).value == 3
    assert counts.increment([MINUTE, HOUR]) == (HOUR, 4, 3540)


def test_a_window_begins_with_the_first_and_ends_whatever_comes(clock: Clock) -> None:
    counts, resets = InMemoryCounters(), []
    for _ in range(4):
        resets.append(counts.increment([MINUTE]).reset_s)
        clock.now_s += 25.5
    assert resets == [60, 35, 9, 60]


def test_a_reset_counter_starts_a_new_window(clock: Clock) -> None:
    counts = InMemoryCounters()
    for _ in range(3):
        counts.increment([MINUTE, HOUR])
    counts.reset(["minute", "nobody's"])
    clock.now_s += 1
    assert counts.increment([MINUTE]) == (MINUTE, 1, 60)
    assert counts.increment([HOUR]).value == 3


def test_when_there_are_too_many_counters_the_window_that_began_first_is_dropped(clock: Clock) -> None:
    counts = InMemoryCounters(max_counters=3)
    windows = [FixedWindow(name, 9, 60 if name == "a" else 120) for name in "abcd"]
    for window in windows[:3]:
        counts.increment([window])
    clock.now_s += 60
    counts.increment(windows[:1])
    counts.increment(windows[3:])
    assert counts.increment(windows[:1]).value == 2, "a began anew, so b was the oldest"
    assert counts.values("abcd") == [2, 0, 1, 1]


def test_a_reserved_quota_counts_like_single_increments() -> None:
    counts, window = InMemoryCounters(), FixedWindow("writes", 10, 60, cost=4)
    given = []
    for _ in range(3):
        allowance = ReservedQuota(counts.increment([window]))
        while (count := allowance.take()) is not None:
            given.append((count.value, count.over_limit_by))
    assert given == [(number, number - 10) for number in range(1, 11)], "of the last step only what fits"
    count = counts.increment([window])
    assert count.over_limit_by > 0
    assert ReservedQuota(count).take() is None


def test_a_reserved_quota_ends_with_its_window(clock: Clock) -> None:
    allowance = ReservedQuota(InMemoryCounters().increment([FixedWindow("writes", 10, 60, cost=4)]))
    assert allowance.take() == (FixedWindow("writes", 10, 60, cost=4), 1, 60)
    clock.now_s += 59.5
    assert allowance.take() is not None, "in its last second as in its first"
    clock.now_s += 0.5
    assert allowance.take() is None


def test_a_quota_reserved_in_the_last_second_can_be_used(clock: Clock) -> None:
    counts, window = InMemoryCounters(), FixedWindow("writes", 100, 60, cost=2)
    counts.increment([window])
    clock.now_s += 59.7
    allowance = ReservedQuota(counts.increment([window]))
    assert [count.value for count in (allowance.take(), allowance.take()) if count] == [3, 4]
