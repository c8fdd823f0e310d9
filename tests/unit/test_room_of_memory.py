"""How much a process remembers: no more than it may, and what was used last."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.infra.memory import Memory
from app.infra.shared import SharedState, slot_of
from tests.support.cache_readers import never
from tests.support.leases import leased

SLOT = slot_of("k")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    """A state whose lease never ends."""
    with leased(tmp_path / "state") as made:
        yield made


def test_it_never_takes_more_than_it_may(state: SharedState) -> None:
    memory = Memory(state, 100_000, 60)
    for number in range(1000):
        memory.through(number, SLOT, lambda: b"x" * 1000)
        assert memory._bytes <= 100_000
        assert memory._bytes == sum(entry[4] for entry in memory._entries.values())
    assert 30 <= len(memory) <= 100
    assert memory.recall(999) == b"x" * 1000


def test_a_value_that_replaces_another_takes_its_place(state: SharedState) -> None:
    memory = Memory(state, 100_000, 60)
    for number in range(1000):
        memory.keep("k", b"x" * number, SLOT, memory.stamp(SLOT))
    assert len(memory) == 1
    assert memory._bytes == memory._entries["k"][4]


def test_the_least_recently_used_goes_first(state: SharedState) -> None:
    memory = Memory(state, 20_000, 60)
    room = 0
    while len(memory) == room:
        memory.through(f"k{room}", SLOT, lambda: b"x" * 1000)
        room += 1
    memory.through("k1", SLOT, never)
    for number in range(room - 2):
        memory.through(f"new{number}", SLOT, lambda: b"x" * 1000)
    assert memory.recall("k1") == b"x" * 1000, "it was used last of the old ones"
    assert memory.recall("k2") is None
    assert memory.recall("new0") == b"x" * 1000


def test_a_value_that_is_a_great_share_of_all_is_not_kept(state: SharedState) -> None:
    memory = Memory(state, 100_000, 60)
    memory.through("small", SLOT, lambda: b"x")
    memory.through("great", SLOT, lambda: b"x" * 13_000)
    assert memory.recall("great") is None
    assert memory.recall("small") == b"x"


def test_with_no_room_it_is_off(state: SharedState) -> None:
    memory = Memory(state, 0, 60)
    assert not memory.usable
    for value in (b"one", b"two"):
        assert memory.through("k", SLOT, lambda value=value: value) == value
    memory.keep("k", b"three", SLOT, memory.stamp(SLOT))
    assert memory.recall("k") is None
    assert len(memory) == 0
