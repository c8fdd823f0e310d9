"""Generations: an invalidation by one process counts at once for all processes of the host."""

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cache.generations import SLOTS, Generations, clock_ns
from tests.support.leases import FOREVER_NS
from tests.support.waiting import wait_until

FORK = multiprocessing.get_context("fork")
PROCESSES = 3
KEYS = [f"user:{number}" for number in range(6)]
ALL = "all"


@pytest.fixture
def generations() -> Iterator[Generations]:
    with closing(Generations(PROCESSES)) as made:
        made.prolong_lease(FOREVER_NS)
        yield made


def in_child(row: int, generations: Generations, do: object) -> int | None:
    """Call `do` in a forked process that writes `row`. Returns its exit code."""

    def run() -> None:
        generations.use_row(row)
        do()  # type: ignore[operator]

    child = FORK.Process(target=run, daemon=True)
    child.start()
    child.join(10)
    return child.exitcode


def test_a_value_is_valid_until_one_of_its_keys_is_invalidated(generations: Generations) -> None:
    slots = generations.slots_of(["user:1", "users"])
    began = clock_ns()
    assert generations.may_be_used(slots, began)
    generations.invalidate(["user:2"])
    assert generations.may_be_used(slots, began)
    generations.invalidate(["users"])
    assert not generations.may_be_used(slots, began)
    assert generations.may_be_used(slots, clock_ns())


def test_everything_is_invalidated_at_once(generations: Generations) -> None:
    began = clock_ns()
    generations.invalidate()
    assert not any(generations.may_be_used(generations.slots_of([key]), began) for key in KEYS)
    assert generations.may_be_used(generations.slots_of(KEYS), clock_ns())


def test_a_value_read_at_the_time_of_an_invalidation_is_not_valid(generations: Generations) -> None:
    generations.invalidate(["users"])
    slots = generations.slots_of(["users"])
    assert not generations.may_be_used(slots, generations.latest(slots))


@pytest.mark.parametrize("count", [0, 1, 1100, 2 * SLOTS])
def test_many_keys_are_invalidated_together(generations: Generations, count: int) -> None:
    began, keys = clock_ns(), [f"user:{number}" for number in range(count)]
    generations.invalidate(keys)
    for key in {*keys[:1], *keys[500:501], *keys[-1:]}:
        assert not generations.may_be_used(generations.slots_of([key]), began)
    assert generations.may_be_used(generations.slots_of([]), began)


def test_an_invalidation_by_another_process_counts_in_this_process(generations: Generations) -> None:
    began = clock_ns()
    assert in_child(1, generations, lambda: generations.invalidate(["user:1"])) == 0
    assert not generations.may_be_used(generations.slots_of(["user:1"]), began)
    assert generations.may_be_used(generations.slots_of(["user:2"]), began)
    assert in_child(2, generations, generations.invalidate) == 0
    assert not generations.may_be_used(generations.slots_of(["user:2"]), began)


def test_a_new_process_continues_the_row_of_a_killed_process(generations: Generations) -> None:
    """Otherwise an empty row would make old values valid again."""
    began = clock_ns()
    assert in_child(1, generations, lambda: generations.invalidate(["user:1"])) == 0
    assert in_child(1, generations, lambda: generations.invalidate(["user:2"])) == 0
    for key in ("user:1", "user:2"):
        assert not generations.may_be_used(generations.slots_of([key]), began)


def test_a_killed_writer_leaves_nothing_locked(generations: Generations) -> None:
    def write() -> None:
        generations.use_row(1)
        while True:
            generations.invalidate(KEYS)

    for _ in range(10):
        child = FORK.Process(target=write, daemon=True)
        child.start()
        time.sleep(0.02)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        began = clock_ns()
        generations.invalidate(KEYS)
        assert not generations.may_be_used(generations.slots_of(KEYS), began)
        assert in_child(1, generations, lambda: generations.invalidate(KEYS)) == 0


def test_a_generation_never_goes_back(generations: Generations) -> None:
    """Three processes write, each a row of its own, and one of them with three threads."""
    stop, slots = FORK.Event(), generations.slots_of(["users"])

    def write(row: int | None) -> None:
        if row is not None:
            generations.use_row(row)
        while not stop.is_set():
            generations.invalidate(["users"])

    others = [FORK.Process(target=write, args=(row,), daemon=True) for row in (0, 2)]
    others += [threading.Thread(target=write, args=(None,)) for _ in range(3)]  # type: ignore[misc]
    for one in others:
        one.start()
    last, until = 0, time.monotonic() + 1
    while time.monotonic() < until:
        latest = generations.latest(slots)
        assert latest >= last
        last = latest
    stop.set()
    for one in others:
        one.join(10)
    assert last


def test_without_a_lease_no_value_is_valid() -> None:
    with closing(Generations()) as generations:
        slots = generations.slots_of(["users"])
        assert not generations.may_be_used(slots, clock_ns()), "nobody has heard yet what others have changed"
        generations.prolong_lease(clock_ns() + 50_000_000)
        assert generations.may_be_used(slots, clock_ns())
        wait_until(lambda: not generations.may_be_used(slots, clock_ns()))
        generations.prolong_lease(FOREVER_NS)
        generations.prolong_lease(0)
        assert not generations.has_lease()


def test_all_processes_share_one_lease(generations: Generations) -> None:
    assert in_child(0, generations, lambda: generations.prolong_lease(0)) == 0
    assert not generations.has_lease()


def test_a_read_is_recorded_and_wakes_the_poller(generations: Generations) -> None:
    generations.prolong_lease(0)
    woken = FORK.Event()

    def sleep() -> None:
        generations.sleep(10)
        woken.set()

    sleeper = FORK.Process(target=sleep, daemon=True)
    sleeper.start()
    time.sleep(0.1)
    assert not woken.is_set()
    assert not generations.has_lease()
    assert woken.wait(5)
    sleeper.join(5)
    assert generations.idle_ns() < 2_000_000_000


def test_a_reader_wakes_a_sleeping_poller_once(generations: Generations) -> None:
    generations.prolong_lease(0)
    # No thread sleeps, so no wake-up is left for the next sleep.
    assert not generations.has_lease()
    for _ in range(2):
        began = time.monotonic()
        generations.sleep(0.1)
        assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("keys", [["users"], ["user:1", "users"], [f"user:{number}" for number in range(100)]])
def test_a_key_has_the_same_slot_in_all_processes_but_never_the_global_slot(keys: list[str]) -> None:
    with closing(Generations()) as one, closing(Generations(4)) as other:
        assert one.slots_of(keys) == other.slots_of(keys)
        everything, *own = one.slots_of(keys)
        assert one.slots_of([]) == (everything,)
        assert everything not in own
        assert max(own) < SLOTS


def test_keys_are_distributed_evenly_over_the_slots() -> None:
    with closing(Generations()) as generations:
        found = {generations.slots_of([f"user:{number}"])[1] for number in range(SLOTS)}
    # By chance, 63 % of them are met.
    assert len(found) > 0.6 * SLOTS


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["read", "invalidate"]), st.integers(0, PROCESSES - 1), st.sampled_from([*KEYS, ALL])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS)
def test_processes_agree_with_a_model(actions: Sequence[tuple[str, int, str]]) -> None:
    """A value is valid in each process if, and only if, no process has invalidated its key since its reading began."""
    with closing(Generations(PROCESSES)) as generations:
        generations.prolong_lease(FOREVER_NS)
        pipes = [FORK.Pipe() for _ in range(PROCESSES)]

        def serve(row: int) -> None:
            generations.use_row(row)
            values: dict[str, int] = {}
            while True:
                action, key = pipes[row][1].recv()
                if action == "read":
                    values[key] = clock_ns()
                elif action == "invalidate":
                    (generations.invalidate() if key == ALL else generations.invalidate([key]))
                pipes[row][1].send(
                    {
                        kept
                        for kept, began_ns in values.items()
                        if generations.may_be_used(generations.slots_of([] if kept == ALL else [kept]), began_ns)
                    }
                )

        children = [FORK.Process(target=serve, args=(row,), daemon=True) for row in range(PROCESSES)]
        for child in children:
            child.start()
        try:
            require_model(actions, [pipe for pipe, _ in pipes])
        finally:
            for child in children:
                child.kill()
                child.join()


def require_model(actions: Sequence[tuple[str, int, str]], pipes: Sequence[object]) -> None:
    model: list[set[str]] = [set() for _ in pipes]

    def ask(row: int, action: str, key: str) -> set[str]:
        pipes[row].send((action, key))  # type: ignore[attr-defined]
        found: set[str] = pipes[row].recv()  # type: ignore[attr-defined]
        return found

    for action, row, key in actions:
        ask(row, action, key)
        if action == "read":
            model[row].add(key)
        for valid in model if action == "invalidate" else ():
            if key == ALL:
                valid.clear()
            else:
                valid.discard(key)
        assert [ask(other, "look", "") for other in range(len(pipes))] == model
