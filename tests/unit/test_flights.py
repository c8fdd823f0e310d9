"""Computations that several want at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.infra.flights import Flights
from tests.support.concurrency import at_once
from tests.support.waiting import wait_until


def test_who_asks_alone_computes() -> None:
    flights, value = Flights(), object()
    assert flights.share("k", lambda: value) is value
    assert flights.share("k", lambda: b"another") == b"another", "it keeps nothing"
    assert flights._under_way == {}


def test_all_who_ask_meanwhile_share_one_computation() -> None:
    flights, calls = Flights(), list[int]()

    def compute() -> object:
        calls.append(1)
        time.sleep(0.2)
        return object()

    assert len(set(at_once([lambda: flights.share("k", compute)] * 30))) == 1
    assert len(calls) == 1
    assert flights._under_way == {}


def test_one_key_does_not_wait_for_another() -> None:
    flights, go_on = Flights(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(flights.share, "slow", lambda: go_on.wait(5))
        wait_until(lambda: "slow" in flights._under_way)
        assert flights.share("other", lambda: b"at once") == b"at once"
        go_on.set()
        assert slow.result() is True


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_if_the_first_fails_each_tries_for_itself(error: type[BaseException]) -> None:
    flights, computing, go_on = Flights(), threading.Event(), threading.Event()

    def fail() -> bytes:
        computing.set()
        assert go_on.wait(5)
        raise error

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(flights.share, "k", fail)
        assert computing.wait(5)
        others = [pool.submit(flights.share, "k", lambda number=number: number) for number in range(1, 5)]
        time.sleep(0.1)
        assert not any(other.done() for other in others)
        go_on.set()
        with pytest.raises(error):
            first.result(5)
        assert [other.result(5) for other in others] == [1, 2, 3, 4]
    assert flights._under_way == {}


def test_an_error_of_one_who_tries_for_itself_is_its_own() -> None:
    flights, gate = Flights(), threading.Barrier(8)

    def ask(number: int) -> int:
        def fail() -> int:
            time.sleep(0.05)
            raise LookupError(number)

        gate.wait()
        with pytest.raises(LookupError) as raised:
            flights.share("k", fail)
        return raised.value.args[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8), timeout=10)) == list(range(8))
    assert flights._under_way == {}


@pytest.mark.parametrize("value", [b"", 0, ()])
def test_what_counts_as_false_is_shared_all_the_same(value: object) -> None:
    flights, computing, go_on = Flights(), threading.Event(), threading.Event()

    def compute() -> object:
        computing.set()
        assert go_on.wait(5)
        return value

    def never() -> object:
        raise AssertionError("it was shared already")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.share, "k", compute)
        assert computing.wait(5)
        second = pool.submit(flights.share, "k", never)
        time.sleep(0.05)
        go_on.set()
        assert first.result(5) == second.result(5) == value
