"""Counting in memory, while Redis is away: the same windows, and never more than a few megabytes."""

import pytest

from app.auth import counters
from app.auth.counters import InMemoryCounters, ReservedQuota, Window

MINUTE, HOUR = Window("minute", 2, 60), Window("hour", 3, 3600)


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


def test_what_a_window_refuses_does_not_count_in_those_after_it(clock: Clock) -> None:
    counts = InMemoryCounters()
    seen = [counts.count([MINUTE, HOUR]) for _ in range(4)]
    assert [(count.window, count.counted, count.excess) for count in seen] == [
        (HOUR, 1, -2),
        (HOUR, 2, -1),
        (MINUTE, 3, 1),
        (MINUTE, 4, 2),
    ]
    clock.now_s += 60
    assert counts.count([MINUTE, HOUR]).counted == 3
    assert counts.count([MINUTE, HOUR]) == (HOUR, 4, 3540)


def test_a_window_begins_with_the_first_and_ends_whatever_comes(clock: Clock) -> None:
    counts, resets = InMemoryCounters(), []
    for _ in range(4):
        resets.append(counts.count([MINUTE]).reset_s)
        clock.now_s += 25.5
    assert resets == [60, 35, 9, 60]


def test_what_is_forgotten_begins_anew(clock: Clock) -> None:
    counts = InMemoryCounters()
    for _ in range(3):
        counts.count([MINUTE, HOUR])
    counts.forget(["minute", "nobody's"])
    clock.now_s += 1
    assert counts.count([MINUTE]) == (MINUTE, 1, 60)
    assert counts.count([HOUR]).counted == 3


def test_when_there_are_very_many_what_began_first_is_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_MOST", 3)
    counts, windows = InMemoryCounters(), [Window(name, 9, 60) for name in "abcd"]
    for window in windows[:3]:
        counts.count([window])
    clock.now_s += 60
    counts.count(windows[:1])
    counts.count(windows[3:])
    assert counts.count(windows[:1]).counted == 2, "a began anew, so b was the oldest"
    assert len(counts._counts) == 3


def test_a_step_is_given_out_one_by_one_as_if_each_had_been_counted() -> None:
    counts, window = InMemoryCounters(), Window("writes", 10, 60, step=4)
    given = []
    for _ in range(3):
        allowance = ReservedQuota(counts.count([window]))
        while (count := allowance.take()) is not None:
            given.append((count.counted, count.excess))
    assert given == [(number, number - 10) for number in range(1, 11)], "of the last step only what fits"
    count = counts.count([window])
    assert count.excess > 0
    assert ReservedQuota(count).take() is None


def test_a_step_ends_with_its_window(clock: Clock) -> None:
    allowance = ReservedQuota(InMemoryCounters().count([Window("writes", 10, 60, step=4)]))
    assert allowance.take() == (Window("writes", 10, 60, step=4), 1, 60)
    clock.now_s += 59.5
    assert allowance.take() is not None, "in its last second as in its first"
    clock.now_s += 0.5
    assert allowance.take() is None


def test_the_last_second_of_a_window_does_not_cost_a_step_for_each(clock: Clock) -> None:
    counts, window = InMemoryCounters(), Window("writes", 100, 60, step=2)
    counts.count([window])
    clock.now_s += 59.7
    allowance = ReservedQuota(counts.count([window]))
    assert [count.counted for count in (allowance.take(), allowance.take()) if count] == [3, 4]
