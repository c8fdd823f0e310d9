"""What a process remembers: nothing that is old. How much it may: test_room_of_memory.py."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.infra import memory as module
from app.infra.memory import Memory
from app.infra.shared import EVERY_WRITE, SharedState, slot_of
from tests.support.cache_readers import never, slow_reader
from tests.support.concurrency import at_once
from tests.support.leases import FOR_EVER, leased

MIB = 2**20
SLOT = slot_of("k")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    """A state whose lease never ends."""
    with leased(tmp_path / "state") as made:
        yield made


@pytest.fixture
def memory(state: SharedState) -> Memory:
    return Memory(state, MIB, 60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Its one number is what time it is for memory."""
    now_ns = [time.monotonic_ns()]

    class Clock:
        monotonic_ns = staticmethod(lambda: now_ns[0])

    monkeypatch.setattr(module, "time", Clock)
    return now_ns


@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"x" * 100_000])
def test_what_was_computed_is_kept_whole(memory: Memory, value: bytes) -> None:
    assert memory.through("k", SLOT, lambda: value) == value
    assert memory.through("k", SLOT, never) == value
    assert memory.recall("k") == value


def test_what_was_never_kept_is_not_recalled(memory: Memory) -> None:
    memory.through("k", SLOT, lambda: b"value")
    assert memory.recall("other") is None


def test_a_write_makes_its_slots_old_and_nothing_else(state: SharedState, memory: Memory) -> None:
    for key, slot in (("k", SLOT), ("other", slot_of("other")), ("page", EVERY_WRITE)):
        memory.through(key, slot, lambda: b"old")
    state.touch([EVERY_WRITE, SLOT])
    assert memory.through("k", SLOT, lambda: b"new") == b"new"
    assert memory.through("page", EVERY_WRITE, lambda: b"new") == b"new"
    assert memory.through("other", slot_of("other"), never) == b"old"
    state.touch_all()
    assert [memory.recall(key) for key in ("k", "other", "page")] == [None] * 3


@pytest.mark.parametrize("slot", [SLOT, EVERY_WRITE])
def test_a_slow_reader_does_not_put_an_older_value_back(state: SharedState, memory: Memory, slot: int) -> None:
    with slow_reader(lambda key, compute: memory.through(key, slot, compute)):
        state.touch([slot])
    assert memory.recall("k") is None
    assert memory.through("k", slot, lambda: b"new") == b"new"


@pytest.mark.parametrize("slot", [SLOT, EVERY_WRITE])
def test_who_asks_after_a_write_does_not_share_what_began_before_it(
    state: SharedState, memory: Memory, slot: int
) -> None:
    with slow_reader(lambda key, compute: memory.through(key, slot, compute)):
        state.touch([slot])
        assert memory.through("k", slot, lambda: b"new") == b"new"
        assert memory.through("k", slot, never) == b"new"
    # The slow one may have put its own in that place, but nobody gets it.
    assert memory.through("k", slot, lambda: b"new") == b"new"


@pytest.mark.parametrize("slot", [SLOT, EVERY_WRITE])
def test_a_write_of_another_process_counts_like_ones_own(tmp_path: Path, memory: Memory, slot: int) -> None:
    other = SharedState(tmp_path / "state")
    memory.through("k", slot, lambda: b"old")
    other.touch([slot])
    assert memory.recall("k") is None
    other.close()


def test_without_a_lease_nothing_is_recalled_and_nothing_kept(state: SharedState, memory: Memory) -> None:
    memory.through("k", SLOT, lambda: b"kept")
    state.lease[0] = 0
    assert not memory.usable
    assert memory.recall("k") is None
    assert memory.through("k", SLOT, lambda: b"computed") == b"computed"
    assert memory.through("new", SLOT, lambda: b"computed") == b"computed"
    assert len(memory) == 1
    state.lease[0] = FOR_EVER
    assert memory.usable
    assert memory.recall("k") == b"kept", "a lease that came in time makes nothing old"
    assert memory.recall("new") is None


def test_a_lease_ends_by_itself(state: SharedState, memory: Memory, clock: list[int]) -> None:
    memory.through("k", SLOT, lambda: b"kept")
    state.lease[0] = clock[0] + 100
    clock[0] += 99
    assert memory.recall("k") == b"kept"
    clock[0] += 1
    assert memory.recall("k") is None
    assert not memory.usable


def test_a_lease_that_is_given_while_somebody_looks_lends_nothing_old(state: SharedState, memory: Memory) -> None:
    """It was over, and is given anew with what was heard meanwhile, between two steps of a reader."""

    class Courier:
        def __getitem__(self, _: int) -> int:
            state.touch([SLOT])
            return FOR_EVER

    memory.through("k", SLOT, lambda: b"old")
    assert memory.recall("k") == b"old"
    memory._lease = Courier()
    assert memory.recall("k") is None


def test_a_value_goes_after_its_time(memory: Memory, clock: list[int]) -> None:
    memory.through("k", SLOT, lambda: b"kept")
    memory.through("short", SLOT, lambda: b"kept", ttl_s=5)
    memory.through("long", SLOT, lambda: b"kept", ttl_s=500)
    clock[0] += int(4.9e9)
    assert memory.recall("short") == b"kept"
    clock[0] += int(0.1e9)
    assert memory.recall("short") is None
    clock[0] += int(54.9e9)
    assert memory.recall("k") == memory.recall("long") == b"kept"
    clock[0] += int(0.1e9)
    assert memory.recall("k") is None
    assert memory.recall("long") is None, "no time of one value is longer than that of all"


def test_a_value_that_took_long_to_compute_is_not_kept_the_longer_for_it(memory: Memory, clock: list[int]) -> None:
    """Its age counts from when it was kept; what is older than that, its stamp says."""

    def slowly() -> bytes:
        clock[0] += int(50e9)
        return b"kept"

    memory.through("k", SLOT, slowly)
    clock[0] += int(60e9)
    assert memory.recall("k") is None


def test_what_is_derived_is_as_good_as_what_it_was_made_of(
    state: SharedState, memory: Memory, clock: list[int]
) -> None:
    memory.through("k", SLOT, lambda: b"kept", ttl_s=5)
    memory.derive("other", "k", b"made of it")
    assert memory.recall("other") == b"made of it"
    clock[0] += int(5e9)
    assert memory.recall("other") is None
    memory.through("k", SLOT, lambda: b"again")
    memory.derive("other", "k", b"made of it")
    assert memory.recall("other") == b"made of it"
    state.touch([SLOT])
    assert memory.recall("other") is None


def test_what_is_derived_late_is_as_old_as_what_it_stands_for(state: SharedState, memory: Memory) -> None:
    memory.through("k", SLOT, lambda: b"old")
    state.touch([SLOT])
    memory.derive("other", "k", b"made of it")
    memory.derive("third", "nothing", b"")
    assert memory.recall("other") is None
    assert memory.recall("third") is None


def test_what_raises_is_raised_and_not_kept(memory: Memory) -> None:
    def fail() -> bytes:
        raise LookupError("nothing there")

    for _ in range(2):
        with pytest.raises(LookupError, match="nothing there"):
            memory.through("k", SLOT, fail)
    assert len(memory) == 0
    assert memory.through("k", SLOT, lambda: b"value") == b"value"


def test_a_herd_computes_once(memory: Memory) -> None:
    calls: list[int] = []

    def compute() -> bytes:
        calls.append(1)
        time.sleep(0.3)
        return b"value"

    assert set(at_once([lambda: memory.through("k", SLOT, compute)] * 50)) == {b"value"}
    assert len(calls) == 1


def test_threads_that_fill_read_and_touch_it_never_get_what_is_not_theirs(state: SharedState) -> None:
    memory, stop = Memory(state, 50_000, 60), time.monotonic() + 1

    def run(seed: int) -> int:
        number = seed
        while time.monotonic() < stop:
            number = (number * 1103515245 + 12345) % 2**31
            key = number // 1000 % 200
            assert memory.through(key, 1 + key, _value_of(key)) == _value_of(key)()
            if number % 50 == 0:
                state.touch([1 + key])
        return number

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(run, range(6)))
    assert memory._bytes == sum(entry[4] for entry in memory._entries.values()) <= 50_000
    assert memory._flights._under_way == {}


def _value_of(key: int) -> Callable[[], bytes]:
    return lambda: b"%d," % key * 100
