"""The table that all processes share: a value comes back whole and good, or not at all."""

import multiprocessing
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.infra import shared_table
from app.infra.shared import SharedState, slot_of
from app.infra.shared_table import SharedTable, Versioned
from tests.support.leases import FOR_EVER, leased

MIB = 2**20
_FORK = multiprocessing.get_context("fork")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    """A state whose lease never ends."""
    with leased(tmp_path / "state") as made:
        yield made


@pytest.fixture
def table(state: SharedState) -> Iterator[SharedTable]:
    made = SharedTable(state, MIB, 60)
    yield made
    made.close()


class Clock(SimpleNamespace):
    """What `time` says to the table."""

    now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(shared_table, "time", made)
    return made


def put(table: SharedTable, key: str, value: bytes, version: int = 1) -> None:
    table.keep(table.begin([key]), [Versioned(key, version, value)])


@pytest.mark.parametrize("value", [b"", b"\x00" * 7, b"x", "é田".encode(), bytes(range(256)) * 3])
def test_any_value_comes_back_whole_with_its_version(table: SharedTable, value: bytes) -> None:
    put(table, "user:é", value, 2**31)
    assert table.recall("user:é") == (2**31, value)
    assert table.recall("user:e") is None


def test_the_last_value_of_a_key_counts(table: SharedTable) -> None:
    for version in range(1, 50):
        put(table, "k", b"x" * version, version)
        assert table.recall("k") == (version, b"x" * version)


def test_a_write_makes_old_what_was_read_before_it(state: SharedState, table: SharedTable) -> None:
    put(table, "k", b"old")
    put(table, "other", b"other")
    reading = table.begin(["k"])
    state.touch([slot_of("k")])
    assert table.recall("k") is None
    assert table.recall("other") == (1, b"other")
    # It was read before the write, and is kept after it.
    table.keep(reading, [Versioned("k", 1, b"old")])
    assert table.recall("k") is None
    put(table, "k", b"new", 2)
    assert table.recall("k") == (2, b"new")
    state.touch_all()
    assert table.recall("k") is None
    assert table.recall("other") is None


def test_without_a_lease_nothing_is_recalled(state: SharedState, table: SharedTable) -> None:
    put(table, "k", b"value")
    for lease in (0, time.monotonic_ns() - 1):
        state.lease[0] = lease
        assert not table.usable
        assert table.recall("k") is None
    state.lease[0] = FOR_EVER
    assert table.usable
    assert table.recall("k") == (1, b"value")


def test_nothing_is_older_than_a_minute_or_an_hour_while_changes_by_sql_are_heard(
    state: SharedState, table: SharedTable, clock: Clock
) -> None:
    put(table, "k", b"value")
    begun = clock.now_ns
    for age_s, watched_s, good in [
        (59, 0, True), (60, 0, False), (60, 61, True), (3599, 3600, True), (3599, 3599, False), (3600, 9999, False),
    ]:  # fmt: skip
        clock.now_ns, state.watched[0] = begun + age_s * 10**9, begun + watched_s * 10**9
        assert (table.recall("k") is not None) == good, (age_s, watched_s)


def test_a_full_table_forgets_the_oldest_and_mixes_nothing(table: SharedTable) -> None:
    chance = random.Random(3)  # noqa: S311 - the same each time
    values = {f"user:{number}": chance.randbytes(chance.randrange(900)) for number in range(20_000)}
    for number, (key, value) in enumerate(values.items()):
        put(table, key, value, number)
    kept = [number for number, key in enumerate(values) if table.recall(key) is not None]
    assert all(table.recall(key) in (None, (number, value)) for number, (key, value) in enumerate(values.items()))
    assert len(kept) > 1000
    assert min(kept) > 15_000
    assert set(range(19_800, 20_000)) <= set(kept)


def test_keys_that_look_alike_are_told_apart(table: SharedTable, monkeypatch: pytest.MonkeyPatch) -> None:
    crc32 = zlib.crc32

    def poor(data: bytes, start: int = 0) -> int:
        """A mark of which there are only a few; checksums, which are of more bytes, stay as they are."""
        return crc32(data, start) % 5 if len(data) < 10 else crc32(data, start)

    monkeypatch.setattr(shared_table, "zlib", SimpleNamespace(crc32=poor))
    for number in range(200):
        put(table, f"k{number}", b"value %d" % number)
        assert table.recall(f"k{number}") == (1, b"value %d" % number)
        for other in range(number):
            assert table.recall(f"k{other}") in (None, (1, b"value %d" % other))


def test_a_damaged_record_is_as_if_it_were_not_there(table: SharedTable) -> None:
    put(table, "k", b"a value")
    at = table._memory.find(b"a value")
    for place in range(at - 29, at + 7):
        before = table._memory[place]
        table._memory[place] = before ^ 0x10
        assert table.recall("k") is None, place - at
        table._memory[place] = before
    assert table.recall("k") == (1, b"a value")


def test_what_is_too_large_is_not_kept(table: SharedTable) -> None:
    put(table, "k", b"old")
    put(table, "large", b"x" * 2000)
    assert table.recall("large") is None
    assert table.recall("k") == (1, b"old")


@pytest.mark.parametrize("most_bytes", [0, MIB - 1])
def test_without_memory_nothing_is_kept(state: SharedState, most_bytes: int) -> None:
    table = SharedTable(state, most_bytes, 60)
    assert not table.usable
    put(table, "k", b"value")
    assert table.recall("k") is None


def test_it_has_room_until_it_is_full_and_again_when_all_is_too_old(table: SharedTable, clock: Clock) -> None:
    number = 0
    while table.has_room:
        put(table, f"k{number}", b"x" * 300)
        number += 1
    assert 0.8 * MIB < number * 350 < MIB
    assert sum(table.recall(f"k{one}") is not None for one in range(number)) > 0.97 * number, "few had to go for it"
    clock.now_ns += 3599 * 10**9
    assert not table.has_room
    clock.now_ns += 10**9
    assert table.has_room


def test_it_has_room_when_all_was_made_old(table: SharedTable, state: SharedState, clock: Clock) -> None:
    number = 0
    while table.has_room:
        put(table, f"k{number}", b"x" * 300)
        number += 1
    clock.now_ns += 1
    assert not table.has_room
    state.touch_all()
    assert table.has_room
    for other in range(number // 2):
        put(table, f"k{other}", b"x" * 300)
    assert table.has_room


def _work(table: SharedTable, seed: int, ends_at: float, found: Any) -> None:
    """Keep and recall at random; what a key may hold can be told from the key."""
    chance, good = random.Random(seed), 0  # noqa: S311 - nothing here is secret
    while time.monotonic() < ends_at:
        number = chance.randrange(3000)
        key = f"user:{number}"
        if (kept := table.recall(key)) is None:
            version = chance.randrange(1, 400)
            put(table, key, b"%d:" % number + b"%d" % version * version, version)
            continue
        version, value = kept
        if value != b"%d:" % number + b"%d" % version * version:
            found.put(f"{key} was {value!r}")
        good += 1
    found.put(good)


def test_processes_that_write_and_read_at_once_never_see_what_nobody_wrote(table: SharedTable) -> None:
    found = _FORK.Queue()
    ends_at = time.monotonic() + 2
    workers = [_FORK.Process(target=_work, args=(table, seed, ends_at, found)) for seed in range(4)]
    for worker in workers:
        worker.start()
    results = [found.get(timeout=20) for _ in workers]
    for worker in workers:
        worker.join()
    assert [result for result in results if not isinstance(result, int)] == []
    assert all(result > 1000 for result in results)


def test_what_one_process_keeps_another_recalls(table: SharedTable) -> None:
    worker = _FORK.Process(target=put, args=(table, "k", b"of the other"))
    worker.start()
    worker.join()
    assert table.recall("k") == (1, b"of the other")


def test_what_a_write_left_is_kept_with_the_stamp_that_it_gave(state: SharedState, table: SharedTable) -> None:
    put(table, "k", b"old")
    put(table, "other", b"other")
    reading = table.begin(["k", "unchanged"])
    reading.renew(state.touch([slot_of("k")]))
    table.keep(reading, [Versioned("k", 2, b"new")])
    assert table.recall("k") == (2, b"new")
    assert table.recall("other") == (1, b"other")
    state.touch([slot_of("k")])
    assert table.recall("k") is None


@pytest.mark.parametrize("when", ["before", "all", "after"])
def test_what_a_write_left_is_not_known_where_another_wrote_meanwhile(
    state: SharedState, table: SharedTable, when: str
) -> None:
    reading = table.begin(["k"])
    if when == "before":
        state.touch([slot_of("k")])
    if when == "all":
        state.touch_all()
    reading.renew(state.touch([slot_of("k")]))
    if when == "after":
        state.touch([slot_of("k")])
    table.keep(reading, [Versioned("k", 2, b"new")])
    assert table.recall("k") is None
