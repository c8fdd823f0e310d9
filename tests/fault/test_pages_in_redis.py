"""Pages that all hosts keep in Redis: none that is older than a write comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from app.infra.cache import CHANNEL, RedisCache, message, read_message
from app.infra.shared import EVERY_WRITE, SharedState, slot_of
from embedded import Stack
from tests.support.cache_readers import never, slow_reader
from tests.support.concurrency import at_once

PAGES = [EVERY_WRITE]
"""What a write says that makes pages old."""


@pytest.fixture
def caches(servers: Stack, tmp_path: Path, empty: Callable[[], None]) -> Iterator[list[RedisCache]]:  # noqa: ARG001
    """Two hosts on one Redis."""
    states = [SharedState(tmp_path / name) for name in "ab"]
    made = [RedisCache(servers.redis.url, 0.5, 60, state) for state in states]
    for cache in made:
        # Who connects first makes all that was there unreachable, since it may have missed a write.
        cache.ping()
    yield made
    for cache, state in zip(made, states, strict=True):
        cache.close()
        state.close()


def test_what_was_computed_is_kept_for_every_host(caches: list[RedisCache]) -> None:
    assert caches[0].through("k", lambda: b"value") == b"value"
    for cache in caches:
        assert cache.through("k", never) == b"value"


@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"x" * 200_000, b"x" * 300_000])
def test_any_value_comes_back_whole_or_is_computed_again(caches: list[RedisCache], value: bytes) -> None:
    for _ in range(3):
        assert caches[0].through("k", lambda: value) == value


def test_a_write_makes_all_pages_unreachable(caches: list[RedisCache]) -> None:
    one, other = caches
    for key in ("page", "another"):
        one.through(key, lambda: b"old")
    other.forget([EVERY_WRITE, slot_of("item")])
    for cache in (one, other):
        for key in ("page", "another"):
            assert cache.through(key, lambda: b"new") == b"new"


def test_a_write_that_is_in_no_page_leaves_them(caches: list[RedisCache]) -> None:
    one, other = caches
    one.through("page", lambda: b"kept")
    other.forget([slot_of("item")])
    assert one.through("page", never) == b"kept"


@pytest.mark.parametrize("count", [0, 1, 900, 1100, 20_000])
def test_any_number_of_slots_is_forgotten(caches: list[RedisCache], count: int) -> None:
    one, other = caches
    one.through("page", lambda: b"old")
    with slow_reader(one.through):
        other.forget([EVERY_WRITE, *range(1, count + 1)])
    for cache in caches:
        for key in ("page", "k"):
            assert cache.through(key, lambda: b"new") == b"new"


@pytest.mark.parametrize("count", [0, 1, 900, 1100, 20_000])
@pytest.mark.parametrize("pages", [PAGES, []])
def test_other_hosts_are_told_every_slot_or_that_all_is_old(
    servers: Stack, caches: list[RedisCache], pages: list[int], count: int
) -> None:
    slots = [*pages, *range(1, count + 1)]
    with redis.Redis.from_url(servers.redis.url) as client, client.pubsub(ignore_subscribe_messages=True) as ears:
        ears.subscribe(CHANNEL)
        while ears.get_message(timeout=0.05):
            pass
        caches[0].forget(slots)
        heard = ears.get_message(timeout=5)
    assert read_message(heard["data"]) == (caches[0]._state.host, tuple(slots) if count <= 900 else ())


@pytest.mark.parametrize("slots", [(), (0,), (65_535, 1, 0), tuple(range(1000))])
def test_what_is_said_is_what_is_heard(slots: tuple[int, ...]) -> None:
    assert read_message(message(2**63, slots)) == (2**63, slots)


@pytest.mark.parametrize("slots", [PAGES, [EVERY_WRITE, slot_of("k")], []])
def test_a_slow_reader_does_not_put_an_older_page_back(caches: list[RedisCache], slots: list[int]) -> None:
    one, other = caches
    with slow_reader(one.through):
        other.forget(slots)
    for cache in caches:
        assert cache.through("k", lambda: b"new") == b"new"


def test_who_asks_after_a_write_does_not_share_what_began_before_it(caches: list[RedisCache]) -> None:
    cache = caches[0]
    with slow_reader(cache.through):
        cache.forget(PAGES)
        assert cache.through("k", lambda: b"new") == b"new"
    assert cache.through("k", never) == b"new"


@pytest.mark.parametrize("flush", [False, True])
def test_a_slow_reader_loses_against_a_write_that_came_with_a_flush(
    servers: Stack, caches: list[RedisCache], flush: bool
) -> None:
    one, other = caches
    with redis.Redis.from_url(servers.redis.url) as client:

        def meanwhile() -> bytes:
            if flush:
                client.flushall()
            other.forget(PAGES)
            other.through("other", lambda: b"x")
            return b"old"

        one.through("k", meanwhile)
    assert one.through("k", lambda: b"new") == b"new"


def test_a_herd_asking_for_one_missing_key_computes_it_once(caches: list[RedisCache]) -> None:
    calls: list[int] = []

    def compute() -> bytes:
        calls.append(1)
        time.sleep(0.3)
        return b"value"

    assert set(at_once([lambda: caches[0].through("k", compute)] * 50)) == {b"value"}
    assert len(calls) == 1


def test_a_herd_whose_leader_fails_is_not_left_waiting(caches: list[RedisCache]) -> None:
    gate = threading.Barrier(8)

    def compute() -> bytes:
        time.sleep(0.05)
        raise LookupError

    def ask(_: int) -> str:
        gate.wait()
        with pytest.raises(LookupError):
            caches[0].through("k", compute)
        return "raised"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8), timeout=10)) == ["raised"] * 8
    assert caches[0]._flights._under_way == {}


def test_a_process_that_is_busy_itself_does_not_lose_redis_for_it(
    servers: Stack,
    tmp_path: Path,
    empty: Callable[[], None],  # noqa: ARG001
) -> None:
    state, over = SharedState(tmp_path / "state"), threading.Event()
    cache = RedisCache(servers.redis.url, 0.2, 60, state)
    cache.ping()
    cache.through("k", lambda: b"kept")

    def spin() -> None:
        while not over.is_set():
            pass

    spinning = [threading.Thread(target=spin) for _ in range(24)]
    for thread in spinning:
        thread.start()
    slowest = 0.0
    try:
        for _ in range(40):
            began = time.monotonic()
            assert cache.through("k", never) == b"kept"
            slowest = max(slowest, time.monotonic() - began)
            assert cache.link.up
    finally:
        over.set()
        for thread in spinning:
            thread.join()
        cache.close()
        state.close()
    print(f"slowest look-up {1000 * slowest:.0f} ms")  # noqa: T201 - shown by -rP
    assert slowest > 0.04, "nothing was as slow as it had to be to show anything"
