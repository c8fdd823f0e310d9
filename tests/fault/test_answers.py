"""Answers that are kept in memory and in Redis: a write makes old what it changed, in all processes of its host."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from app.infra.answers import Answers
from app.infra.cache import NullCache, RedisCache
from app.infra.memory import Memory
from app.infra.shared import EVERY_WRITE, SharedState, slot_of
from app.infra.shared_table import SharedTable
from embedded import Stack
from tests.support.cache_readers import never, slow_reader
from tests.support.leases import leased

MIB = 2**20


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    """A host whose memory may be used."""
    with leased(tmp_path / "state") as made:
        yield made


@pytest.fixture
def answers(servers: Stack, state: SharedState, empty: Callable[[], None]) -> Iterator[list[Answers]]:  # noqa: ARG001
    """Two processes of one host, with memory and Redis."""
    pages = [RedisCache(servers.redis.url, 0.5, 60, state) for _ in range(2)]
    for cache in pages:
        cache.ping()
    yield [Answers(Memory(state, MIB, 60), SharedTable(state, 0, 60), cache, state) for cache in pages]
    for cache in pages:
        cache.close()


@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"x" * 200_000, b"x" * 300_000])
def test_any_value_comes_back_whole_through_memory_and_redis(answers: list[Answers], value: bytes) -> None:
    for one in (*answers, *answers):
        assert one.of_all("k", lambda one=one: one.of_all_dear("k", lambda: value)) == value
        assert one.of_one("k", lambda: value) == value


def test_a_write_makes_its_items_and_all_pages_old_and_nothing_else(answers: list[Answers]) -> None:
    for one in answers:
        for key in ("item", "other"):
            one.of_one(key, lambda: b"old")
        one.of_one("part", lambda: b"old", about="item")
        one.of_all("page", lambda: b"old")
        one.of_all_dear("dear", lambda: b"old")
    answers[1].forget(["item"])
    for one in answers:
        assert one.of_one("item", lambda: b"new") == b"new"
        assert one.of_one("part", lambda: b"new", about="item") == b"new"
        assert one.of_all("page", lambda: b"new") == b"new"
        assert one.of_all_dear("dear", lambda: b"new") == b"new"
        assert one.of_one("other", never) == b"old"


def test_what_is_forgotten_alone_leaves_pages(answers: list[Answers]) -> None:
    for one in answers:
        one.of_one("item", lambda: b"old")
        one.of_all("page", lambda: b"kept")
        one.of_all_dear("dear", lambda: b"kept")
    answers[1].forget_alone("item")
    for one in answers:
        assert one.of_one("item", lambda: b"new") == b"new"
        assert one.of_all("page", never) == b"kept"
        assert one.of_all_dear("dear", never) == b"kept"


@pytest.mark.parametrize("count", [0, 1, 900, 1100, 20_000])
def test_any_number_of_keys_is_forgotten(answers: list[Answers], count: int) -> None:
    one, other = answers
    keys = [f"many:{number}" for number in range(count)]
    seen = {*keys[:1], *keys[500:501], *keys[-1:]}
    for key in seen:
        one.of_one(key, lambda: b"old")
    one.of_all("page", lambda: b"old")
    one.of_all_dear("page", lambda: b"old")
    with slow_reader(one.of_one):
        other.forget((*keys, "k"))
    for key in (*seen, "k"):
        assert one.of_one(key, lambda: b"new") == b"new"
    assert one.of_all("page", lambda: b"new") == b"new"
    assert one.of_all_dear("page", lambda: b"new") == b"new"


def test_redis_is_told_before_memory(state: SharedState) -> None:
    """Else who sees the new stamp here could find the old page there, and keep it as new."""
    told: list[bool] = []

    class Noting(NullCache):
        def forget(self, slots: Sequence[int]) -> None:
            told.append([state.stamp(slot) for slot in slots] == before)

    before = [state.stamp(slot) for slot in (EVERY_WRITE, slot_of("item"))]
    Answers(Memory(state, MIB, 60), SharedTable(state, 0, 60), Noting(), state).forget(["item"])
    assert told == [True]
    assert before != [state.stamp(slot) for slot in (EVERY_WRITE, slot_of("item"))]


@pytest.mark.parametrize("way", ["of_one", "of_all", "of_all_dear", "both"])
def test_a_slow_reader_spoils_nothing_for_any_process_of_the_host(answers: list[Answers], way: str) -> None:
    def through(who: Answers) -> Callable[[str, Callable[[], bytes]], bytes]:
        if way == "both":
            return lambda key, compute: who.of_all(key, lambda: who.of_all_dear(key, compute))
        return getattr(who, way)

    one, other = answers
    with slow_reader(through(one)):
        other.forget(["k"])
        for who in answers:
            assert through(who)("k", lambda: b"new") == b"new"
    for who in answers:
        assert through(who)("k", lambda: b"new") == b"new"
