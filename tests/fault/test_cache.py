"""The cache never costs truth: what is read after a write's answer is never older than the write."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from door import Door
from flask import Flask

from app.infra.cache import RedisCache, Scope
from app.infra.shared import SharedState
from app.services import listing, users
from embedded import Stack

FOR_S = 4.0


@pytest.fixture
def caches(servers: Stack, tmp_path: Path, empty: Callable[[], None]) -> Iterator[list[RedisCache]]:  # noqa: ARG001
    """Two instances on one Redis."""
    states = [SharedState(tmp_path / name) for name in "ab"]
    made = [RedisCache(servers.redis.url, 0.5, 60, state) for state in states]
    for cache in made:
        # Who connects first makes all that was there unreachable, since it may have missed a write.
        cache.ping()
    yield made
    for cache, state in zip(made, states, strict=True):
        cache.close()
        state.close()


@pytest.fixture
def doors(make_app: Callable[..., Flask], empty: Callable[[], None]) -> list[Door]:  # noqa: ARG001
    """Two applications on one Redis and one PostgreSQL, with nothing else in common."""
    made = [Door(make_app()) for _ in range(2)]
    for door in made:
        door.listed()
    return made


def never() -> bytes:
    raise AssertionError("this was in the cache")


@contextmanager
def slow_reader(cache: RedisCache, scope: Scope) -> Iterator[None]:
    """Somebody reads b"old" for "k" before the block, and is done with it only after the block."""
    computed, go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        computed.set()
        assert go_on.wait(5)
        return b"old"

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(cache.through, "k", scope, slowly)
        assert computed.wait(5)
        yield
        go_on.set()
        assert reading.result() == b"old"


@pytest.mark.parametrize("scope", Scope)
def test_what_was_computed_is_kept_for_every_instance(caches: list[RedisCache], scope: Scope) -> None:
    assert caches[0].through("k", scope, lambda: b"value") == b"value"
    for cache in caches:
        assert cache.through("k", scope, never) == b"value"


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"x" * 200_000, b"x" * 300_000])
def test_any_value_comes_back_whole_or_is_computed_again(caches: list[RedisCache], scope: Scope, value: bytes) -> None:
    for _ in range(3):
        assert caches[0].through("k", scope, lambda: value) == value


def test_a_write_makes_its_item_and_all_pages_unreachable_and_nothing_else(caches: list[RedisCache]) -> None:
    one, other = caches
    for key, scope in (("item", Scope.ITEM), ("other", Scope.ITEM), ("page", Scope.PAGE)):
        one.through(key, scope, lambda: b"old")
    other.forget(["item"])
    assert one.through("item", Scope.ITEM, lambda: b"new") == b"new"
    assert one.through("page", Scope.PAGE, lambda: b"new") == b"new"
    assert one.through("other", Scope.ITEM, never) == b"old"


@pytest.mark.parametrize("count", [0, 1, 900, 1100, 20_000])
def test_any_number_of_keys_is_forgotten(caches: list[RedisCache], count: int) -> None:
    one, other = caches
    keys = [f"many:{number}" for number in range(count)]
    seen = {*keys[:1], *keys[500:501], *keys[-1:]}
    for key in seen:
        one.through(key, Scope.ITEM, lambda: b"old")
    one.through("page", Scope.PAGE, lambda: b"old")
    with slow_reader(one, Scope.ITEM):
        other.forget((*keys, "k"))
    for key in (*seen, "k"):
        assert one.through(key, Scope.ITEM, lambda: b"new") == b"new"
    assert one.through("page", Scope.PAGE, lambda: b"new") == b"new"


def test_a_process_that_is_busy_itself_does_not_lose_redis_for_it(
    servers: Stack,
    tmp_path: Path,
    empty: Callable[[], None],  # noqa: ARG001
) -> None:
    state, over = SharedState(tmp_path / "state"), threading.Event()
    cache = RedisCache(servers.redis.url, 0.1, 60, state)
    cache.ping()
    cache.through("k", Scope.ITEM, lambda: b"kept")

    def spin() -> None:
        while not over.is_set():
            pass

    spinning = [threading.Thread(target=spin) for _ in range(12)]
    for thread in spinning:
        thread.start()
    slowest = 0.0
    try:
        for _ in range(40):
            began = time.monotonic()
            assert cache.through("k", Scope.ITEM, never) == b"kept"
            slowest = max(slowest, time.monotonic() - began)
            assert cache.link.up
    finally:
        over.set()
        for thread in spinning:
            thread.join()
        cache.close()
        state.close()
    print(f"slowest look-up {1000 * slowest:.0f} ms")  # noqa: T201 - shown by -rP
    assert slowest > 0.02, "nothing was as slow as it had to be to show anything"


@pytest.mark.parametrize("scope", Scope)
def test_a_slow_reader_does_not_put_an_older_value_back(caches: list[RedisCache], scope: Scope) -> None:
    one, other = caches
    with slow_reader(one, scope):
        other.forget(["k"])
    for cache in caches:
        assert cache.through("k", scope, lambda: b"new") == b"new"


@pytest.mark.parametrize("scope", Scope)
def test_who_asks_after_a_write_does_not_share_what_began_before_it(caches: list[RedisCache], scope: Scope) -> None:
    cache = caches[0]
    with slow_reader(cache, scope):
        cache.forget(["k"])
        assert cache.through("k", scope, lambda: b"new") == b"new"
    assert cache.through("k", scope, never) == b"new"


@pytest.mark.parametrize("flush", [False, True])
def test_a_slow_reader_loses_against_a_write_that_came_with_a_flush(
    servers: Stack, caches: list[RedisCache], flush: bool
) -> None:
    one, other = caches
    with redis.Redis.from_url(servers.redis.url) as client:

        def meanwhile() -> bytes:
            if flush:
                client.flushall()
            other.forget(["k"])
            other.through("other", Scope.ITEM, lambda: b"x")
            return b"old"

        one.through("k", Scope.ITEM, meanwhile)
    assert one.through("k", Scope.ITEM, lambda: b"new") == b"new"


def test_a_herd_asking_for_one_missing_key_computes_it_once(caches: list[RedisCache]) -> None:
    calls: list[int] = []
    gate = threading.Barrier(50)

    def compute() -> bytes:
        calls.append(1)
        time.sleep(0.3)
        return b"value"

    def ask(_: int) -> bytes:
        gate.wait()
        return caches[0].through("k", Scope.PAGE, compute)

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(ask, range(50))) == {b"value"}
    assert len(calls) == 1


def test_a_herd_whose_leader_fails_is_not_left_waiting(caches: list[RedisCache]) -> None:
    gate = threading.Barrier(8)

    def compute() -> bytes:
        time.sleep(0.05)
        raise LookupError

    def ask(_: int) -> str:
        gate.wait()
        with pytest.raises(LookupError):
            caches[0].through("k", Scope.ITEM, compute)
        return "raised"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8), timeout=10)) == ["raised"] * 8
    assert caches[0]._flights == {}


def test_a_herd_of_requests_is_one_select(monkeypatch: pytest.MonkeyPatch, doors: list[Door]) -> None:
    user, calls, original = doors[0].make(), [], users._packed

    def slowly(user_id: Any) -> bytes:
        calls.append(user_id)
        time.sleep(0.2)
        return original(user_id)

    monkeypatch.setattr(users, "_packed", slowly)
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: doors[0].get(f"/users/{user['id']}").json, range(30)))
    assert answers == [user] * 30
    assert len(calls) == 1


def test_a_reader_that_paused_after_its_select_spoils_neither_user_nor_page(
    monkeypatch: pytest.MonkeyPatch, doors: list[Door]
) -> None:
    """The read began before the write and ends after it: its answer may be old, the next one may not."""
    user = doors[0].make(name="old")
    path = f"/users/{user['id']}"
    selected, go_on = threading.Barrier(3), threading.Event()

    def pausing(original: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        def select(argument: Any) -> bytes:
            found = original(argument)
            if threading.current_thread().name.startswith("slow"):
                selected.wait(5)
                assert go_on.wait(5)
            return found

        return select

    monkeypatch.setattr(users, "_packed", pausing(users._packed))
    monkeypatch.setattr(listing, "_packed", pausing(listing._packed))
    with ThreadPoolExecutor(2, thread_name_prefix="slow") as pool:
        slow = [pool.submit(doors[0].get, target) for target in (path, "/users")]
        selected.wait(5)
        doors[1].patch(path, {"name": "new"})
        go_on.set()
        assert [future.result().status_code for future in slow] == [200, 200]
    for door in doors:
        assert door.get(path).json["name"] == "new"
        assert [shown["name"] for shown in door.listed()] == ["new"]


def test_no_reader_ever_sees_less_than_what_a_writer_was_answered(servers: Stack, doors: list[Door]) -> None:
    """Random reads and writes by threads through two instances: single users, pages and counts."""
    ids = [doors[0].make(username=f"u{number}")["id"] for number in range(4)]
    answered = dict.fromkeys(ids, 1)
    lock, stop, faults, reads = threading.Lock(), time.monotonic() + FOR_S, [], [0]

    def write(seed: int) -> None:
        chance, door = random.Random(seed), doors[seed % 2]  # noqa: S311
        while time.monotonic() < stop and not faults:
            user_id = chance.choice(ids)
            version = door.patch(f"/users/{user_id}", {"attributes": {"n": chance.random()}}).json["version"]
            with lock:
                answered[user_id] = max(answered[user_id], version)
            time.sleep(chance.random() * 0.02)

    def read(seed: int) -> None:
        chance, door = random.Random(seed), doors[seed % 2]  # noqa: S311
        while time.monotonic() < stop and not faults:
            with lock:
                least = dict(answered)
            if chance.random() < 0.5:
                user_id = chance.choice(ids)
                found = {user_id: door.get(f"/users/{user_id}").json["version"]}
            else:
                found = {user["id"]: user["version"] for user in door.listed(sort=chance.choice(["name", "-username"]))}
            reads[0] += 1
            faults.extend((key, version, least[key]) for key, version in found.items() if version < least[key])

    with redis.Redis.from_url(servers.redis.url) as client:
        before = client.info("stats")["keyspace_hits"]
        with ThreadPoolExecutor(6) as pool:
            for future in [pool.submit(write if n < 2 else read, n) for n in range(6)]:
                future.result()
        hits = client.info("stats")["keyspace_hits"] - before
    assert faults == []
    assert reads[0] > 100
    assert hits > 100


def test_a_cached_answer_needs_no_database(monkeypatch: pytest.MonkeyPatch, doors: list[Door]) -> None:
    user = doors[0].make()
    first = (doors[0].get(f"/users/{user['id']}").data, doors[0].get("/users?q=user").data)
    for module in (users, listing):
        monkeypatch.setattr(module, "_packed", lambda _: never())
    assert (doors[1].get(f"/users/{user['id']}").data, doors[1].get("/users?q=user").data) == first


def test_a_cached_answer_goes_by_itself_after_its_time(servers: Stack, doors: list[Door]) -> None:
    user = doors[0].make()
    doors[0].get(f"/users/{user['id']}")
    doors[0].get("/users")
    with redis.Redis.from_url(servers.redis.url) as client:
        times = {key: client.ttl(key) for key in client.keys("fsa:cache:*") if not key.endswith(b"stamp")}
    assert len(times) == 2
    assert all(50 < ttl <= 60 for ttl in times.values())


def test_without_a_cache_everything_is_read(make_app: Callable[..., Flask], servers: Stack, doors: list[Door]) -> None:
    plain = Door(make_app(cache_ttl_s=0))
    user = doors[0].make()
    with redis.Redis.from_url(servers.redis.url) as client:
        client.flushall()
        assert plain.get(f"/users/{user['id']}").json == user
        assert plain.listed() == [user]
        assert client.keys("fsa:cache:page*") + client.keys("fsa:cache:user*") == []
