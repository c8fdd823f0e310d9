"""The batcher: concurrent look-ups share queries that begin after the calls."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.cache.single_flight import Batcher
from tests.support.waiting import wait_until


class Table:
    """Looks up the double of a number below a thousand, and holds back the first question until `go_on`."""

    def __init__(self) -> None:
        self.questions: list[list[int]] = []
        self.go_on = threading.Event()
        self.error: Exception | None = None

    def look_up(self, keys: Sequence[int]) -> Mapping[int, int]:
        self.questions.append(list(keys))
        assert self.go_on.wait(10)
        if self.error is not None:
            raise self.error
        return {key: 2 * key for key in keys if key < 1000}


@pytest.fixture
def table() -> Table:
    return Table()


def look_up_all(
    batcher: Batcher[int, int], table: Table, keys: Sequence[int], pool: ThreadPoolExecutor
) -> list[object]:
    """Look up `keys` concurrently while one query is executed. Returns values or errors."""
    asking = list[int]()

    def ask(key: int) -> int | None:
        asking.append(key)
        return batcher.get(key)

    waiting = [pool.submit(ask, keys[0])]
    wait_until(lambda: table.questions)
    waiting += [pool.submit(ask, key) for key in keys[1:]]
    wait_until(lambda: len(asking) == len(keys))
    # The last of them has still to take its place in the queue.
    time.sleep(0.2)
    table.go_on.set()
    return [one.exception(10) or one.result() for one in waiting]


def test_a_single_caller_is_answered_at_once(table: Table) -> None:
    table.go_on.set()
    batcher = Batcher(table.look_up)
    assert [batcher.get(key) for key in (1, 2, 2, 1000)] == [2, 4, 4, None]
    assert table.questions == [[1], [2], [2], [1000]]


def test_concurrent_look_ups_share_few_queries_and_each_gets_its_own_result(table: Table) -> None:
    batcher, keys = Batcher(table.look_up), [*range(60), *range(2000, 2010)]
    with ThreadPoolExecutor(len(keys)) as pool:
        found = look_up_all(batcher, table, keys, pool)
    assert found == [*range(0, 120, 2), *[None] * 10]
    assert len(table.questions) == 2
    assert sorted(table.questions[1]) == keys[1:]


def test_callers_with_the_same_key_all_get_its_value(table: Table) -> None:
    batcher = Batcher(table.look_up)
    with ThreadPoolExecutor(40) as pool:
        assert look_up_all(batcher, table, [7] * 40, pool) == [14] * 40
    assert len(table.questions) == 2


def test_over_a_hundred_waiting_look_ups_take_several_queries(table: Table) -> None:
    batcher, keys = Batcher(table.look_up), list(range(251))
    with ThreadPoolExecutor(len(keys)) as pool:
        assert look_up_all(batcher, table, keys, pool) == list(range(0, 502, 2))
    assert [len(question) for question in table.questions] == [1, 100, 100, 50]
    assert sorted(key for question in table.questions for key in question) == keys


def test_an_error_reaches_each_waiting_caller_and_no_later_one(table: Table) -> None:
    batcher, table.error = Batcher(table.look_up), LookupError("away")
    with ThreadPoolExecutor(30) as pool:
        found = look_up_all(batcher, table, list(range(30)), pool)
    assert found == [table.error] * 30
    table.error = None
    assert batcher.get(3) == 6


def test_no_caller_gets_the_result_of_a_query_that_began_before_its_call() -> None:
    """The value only increases. A look-up that begins after the value was n returns at least n."""
    truth = [0]

    def look_up(keys: Sequence[str]) -> Mapping[str, int]:
        seen = truth[0]
        time.sleep(0.001)
        return dict.fromkeys(keys, seen)

    batcher, stop = Batcher(look_up), time.monotonic() + 1

    def ask(_: int) -> int:
        reads = 0
        while time.monotonic() < stop:
            least = truth[0]
            found = batcher.get("k")
            assert found is not None
            assert found >= least
            truth[0] = max(truth[0], least + 1)
            reads += 1
        return reads

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) > 100
