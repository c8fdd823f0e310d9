"""Single flight: concurrent callers share a computation, unless it began before an invalidation."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from app.cache.generations import Generations
from app.cache.single_flight import SingleFlight
from tests.support.cache_readers import must_not_run, slow_reader
from tests.support.concurrency import at_once
from tests.support.leases import FOREVER_NS

KEYS = ["users"]


@pytest.fixture
def generations() -> Iterator[Generations]:
    with closing(Generations()) as made:
        made.prolong_lease(FOREVER_NS)
        yield made


@pytest.fixture
def flights(generations: Generations) -> SingleFlight:
    return SingleFlight(generations)


def test_a_single_caller_computes_and_the_result_is_not_cached(flights: SingleFlight) -> None:
    value = object()
    assert flights.share("k", KEYS, lambda: value) is value
    assert flights.share("k", KEYS, lambda: b"another") == b"another"


def test_concurrent_callers_share_one_computation(flights: SingleFlight) -> None:
    calls = list[int]()

    def compute() -> object:
        calls.append(1)
        time.sleep(0.3)
        return object()

    assert len(set(at_once([lambda: flights.share("k", KEYS, compute)] * 30))) == 1
    assert len(calls) == 1


def test_one_key_does_not_wait_for_another(flights: SingleFlight) -> None:
    with slow_reader(lambda key, compute: flights.share(key, KEYS, compute)):
        assert flights.share("other", KEYS, lambda: b"at once") == b"at once"


def test_a_read_after_a_write_does_not_join_an_older_computation(
    flights: SingleFlight, generations: Generations
) -> None:
    with slow_reader(lambda key, compute: flights.share(key, KEYS, compute)):
        generations.invalidate(["another"])
        generations.invalidate(KEYS)
        assert flights.share("k", KEYS, lambda: b"new") == b"new"


def test_without_a_lease_computations_are_not_shared(flights: SingleFlight, generations: Generations) -> None:
    """Another host may have written, and this host does not know of the change."""
    with slow_reader(lambda key, compute: flights.share(key, KEYS, compute)):
        generations.prolong_lease(0)
        assert flights.share("k", KEYS, lambda: b"new") == b"new"
        generations.prolong_lease(FOREVER_NS)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_if_the_first_computation_fails_each_caller_computes(flights: SingleFlight, error: type[BaseException]) -> None:
    computing, go_on = threading.Event(), threading.Event()

    def fail() -> bytes:
        computing.set()
        assert go_on.wait(5)
        raise error

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(flights.share, "k", KEYS, fail)
        assert computing.wait(5)
        others = [pool.submit(flights.share, "k", KEYS, lambda number=number: number) for number in range(1, 5)]
        time.sleep(0.1)
        assert not any(other.done() for other in others)
        go_on.set()
        with pytest.raises(error):
            first.result(5)
        assert [other.result(5) for other in others] == [1, 2, 3, 4]
    assert flights.share("k", KEYS, lambda: b"again") == b"again"


def test_an_error_of_a_separate_computation_reaches_only_its_caller(flights: SingleFlight) -> None:
    gate = threading.Barrier(8)

    def ask(number: int) -> int:
        def fail() -> int:
            time.sleep(0.05)
            raise LookupError(number)

        gate.wait()
        with pytest.raises(LookupError) as raised:
            flights.share("k", KEYS, fail)
        found: int = raised.value.args[0]
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8), timeout=10)) == list(range(8))


@pytest.mark.parametrize("value", [b"", 0, ()])
def test_falsy_results_are_shared(flights: SingleFlight, value: object) -> None:
    computing, go_on = threading.Event(), threading.Event()

    def compute() -> object:
        computing.set()
        assert go_on.wait(5)
        return value

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.share, "k", KEYS, compute)
        assert computing.wait(5)
        second = pool.submit(flights.share, "k", KEYS, must_not_run)
        time.sleep(0.1)
        go_on.set()
        assert first.result(5) == second.result(5) == value
