"""What is kept never costs truth: what is read after a write's answer is never older than the write.

Memory by itself: tests/unit/test_memory.py. What other hosts see: test_courier.py and test_coherence.py.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from door import Door
from flask import Flask
from leases import lend

from app.infra.answers import Answers
from app.infra.cache import CHANNEL, NullCache, RedisCache, message, read_message
from app.infra.memory import Memory
from app.infra.shared import EVERY_WRITE, SharedState, slot_of
from app.services import listing, users
from embedded import Stack

FOR_S = 4.0
MIB = 2**20
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


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    """A host whose memory may be used."""
    made = SharedState(tmp_path / "state")
    made.lease[0] = 1 << 62
    yield made
    made.close()


@pytest.fixture
def answers(servers: Stack, state: SharedState, empty: Callable[[], None]) -> Iterator[list[Answers]]:  # noqa: ARG001
    """Two processes of one host, with memory and Redis."""
    pages = [RedisCache(servers.redis.url, 0.5, 60, state) for _ in range(2)]
    for cache in pages:
        cache.ping()
    yield [Answers(Memory(state, MIB, 60), cache, state) for cache in pages]
    for cache in pages:
        cache.close()


@pytest.fixture
def doors(make_app: Callable[..., Flask], empty: Callable[[], None], tmp_path: Path) -> list[Door]:  # noqa: ARG001
    """Two processes of one host: applications on one state, with their memory on."""
    apps = [make_app(state_file=str(tmp_path / "doors")) for _ in range(2)]
    for app in apps:
        lend(app)
    made = [Door(app) for app in apps]
    for door in made:
        # A process that connects makes what Redis holds unreachable.
        door.listed(q="nobody")
    return made


def never() -> bytes:
    raise AssertionError("this was kept")


@contextmanager
def slow_reader(through: Callable[[str, Callable[[], bytes]], bytes]) -> Iterator[None]:
    """Somebody reads b"old" for "k" before the block, and is done with it only after the block."""
    computed, go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        computed.set()
        assert go_on.wait(5)
        return b"old"

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(through, "k", slowly)
        assert computed.wait(5)
        try:
            yield
        finally:
            go_on.set()
        assert reading.result() == b"old"


def test_what_was_computed_is_kept_for_every_host(caches: list[RedisCache]) -> None:
    assert caches[0].through("k", lambda: b"value") == b"value"
    for cache in caches:
        assert cache.through("k", never) == b"value"


@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"x" * 200_000, b"x" * 300_000])
def test_any_value_comes_back_whole_or_is_computed_again(caches: list[RedisCache], value: bytes) -> None:
    for _ in range(3):
        assert caches[0].through("k", lambda: value) == value


@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"x" * 200_000, b"x" * 300_000])
def test_any_value_comes_back_whole_through_memory_and_redis(answers: list[Answers], value: bytes) -> None:
    for one in (*answers, *answers):
        assert one.of_all("k", lambda one=one: one.of_all_dear("k", lambda: value)) == value
        assert one.of_one("k", lambda: value) == value


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


def test_redis_is_told_before_memory(state: SharedState) -> None:
    """Else who sees the new stamp here could find the old page there, and keep it as new."""
    told: list[bool] = []

    class Noting(NullCache):
        def forget(self, slots: Sequence[int]) -> None:
            told.append([state.stamps[slot] for slot in slots] == before)

    before = [state.stamps[slot] for slot in (EVERY_WRITE, slot_of("item"))]
    Answers(Memory(state, MIB, 60), Noting(), state).forget(["item"])
    assert told == [True]
    assert before != [state.stamps[slot] for slot in (EVERY_WRITE, slot_of("item"))]


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


def test_a_process_that_is_busy_itself_does_not_lose_redis_for_it(
    servers: Stack,
    tmp_path: Path,
    empty: Callable[[], None],  # noqa: ARG001
) -> None:
    state, over = SharedState(tmp_path / "state"), threading.Event()
    cache = RedisCache(servers.redis.url, 0.1, 60, state)
    cache.ping()
    cache.through("k", lambda: b"kept")

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
    assert slowest > 0.02, "nothing was as slow as it had to be to show anything"


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
    gate = threading.Barrier(50)

    def compute() -> bytes:
        calls.append(1)
        time.sleep(0.3)
        return b"value"

    def ask(_: int) -> bytes:
        gate.wait()
        return caches[0].through("k", compute)

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
            caches[0].through("k", compute)
        return "raised"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8), timeout=10)) == ["raised"] * 8
    assert caches[0]._flights._under_way == {}


def test_a_herd_of_requests_is_one_select(monkeypatch: pytest.MonkeyPatch, doors: list[Door]) -> None:
    user, calls, original = doors[0].make(), [], users._found

    def slowly(user_id: Any) -> Any:
        calls.append(user_id)
        time.sleep(0.2)
        return original(user_id)

    monkeypatch.setattr(users, "_found", slowly)
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda _: doors[0].get(f"/users/{user['id']}").json, range(30)))
    assert found == [user] * 30
    assert len(calls) == 1


def test_a_reader_that_paused_after_its_select_spoils_neither_user_nor_page(
    monkeypatch: pytest.MonkeyPatch, doors: list[Door]
) -> None:
    """The read began before the write and ends after it: its answer may be old, the next one may not."""
    user = doors[0].make(name="old")
    path = f"/users/{user['id']}"
    targets = [path, "/users", "/users?role=member"]
    selected, go_on = threading.Barrier(len(targets) + 1), threading.Event()

    def pausing(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def select(argument: Any) -> Any:
            found = original(argument)
            if threading.current_thread().name.startswith("slow"):
                selected.wait(5)
                assert go_on.wait(5)
            return found

        return select

    monkeypatch.setattr(users, "_found", pausing(users._found))
    monkeypatch.setattr(listing, "_packed", pausing(listing._packed))
    with ThreadPoolExecutor(len(targets), thread_name_prefix="slow") as pool:
        slow = [pool.submit(doors[0].get, target) for target in targets]
        selected.wait(5)
        doors[1].patch(path, {"name": "new"})
        go_on.set()
        assert [future.result().status_code for future in slow] == [200] * len(targets)
    for door in doors:
        assert door.get(path).json["name"] == "new"
        for filters in ({}, {"role": "member"}):
            assert [shown["name"] for shown in door.listed(**filters)] == ["new"]


def test_no_reader_ever_sees_less_than_what_a_writer_was_answered(
    monkeypatch: pytest.MonkeyPatch, servers: Stack, doors: list[Door]
) -> None:
    """Random reads and writes by threads through two processes of one host: single users, pages, filtered pages."""
    ids = [doors[0].make(username=f"u{number}")["id"] for number in range(4)]
    answered = dict.fromkeys(ids, 1)
    lock, stop, faults, reads, recalled = threading.Lock(), time.monotonic() + FOR_S, [], [0], [0]
    recall = Memory.recall

    def counting(memory: Memory, key: Any) -> Any:
        found = recall(memory, key)
        recalled[0] += found is not None
        return found

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
                filters = chance.choice([{}, {"active": "true"}])
                shown = door.listed(sort=chance.choice(["name", "-username"]), **filters)
                found = {user["id"]: user["version"] for user in shown}
                assert found.keys() == set(ids)
            reads[0] += 1
            faults.extend((key, version, least[key]) for key, version in found.items() if version < least[key])

    monkeypatch.setattr(Memory, "recall", counting)
    with redis.Redis.from_url(servers.redis.url) as client:
        before = client.info("stats")["keyspace_hits"]
        with ThreadPoolExecutor(6) as pool:
            for future in [pool.submit(write if n < 2 else read, n) for n in range(6)]:
                future.result()
        hits = client.info("stats")["keyspace_hits"] - before
    print(f"{reads[0]} reads, {recalled[0]} answers from memory, {hits} from Redis")  # noqa: T201 - shown by -rP
    assert faults == []
    assert reads[0] > 100
    assert recalled[0] > 20
    assert hits > 20


def test_what_is_kept_needs_no_database(monkeypatch: pytest.MonkeyPatch, doors: list[Door]) -> None:
    """Of one process in its memory, and what was dear in Redis for all."""
    user = doors[0].make()
    paths = [f"/users/{user['id']}", "/users", "/users?q=user"]
    first = [doors[0].get(path).data for path in paths]
    monkeypatch.setattr(users, "_found", lambda _: never())
    monkeypatch.setattr(listing, "_packed", lambda _: never())
    assert [doors[0].get(path).data for path in paths] == first
    assert doors[1].get(paths[-1]).data == first[-1]


def test_what_redis_keeps_goes_by_itself_after_its_time(servers: Stack, doors: list[Door]) -> None:
    user = doors[0].make()
    with redis.Redis.from_url(servers.redis.url) as client:
        client.flushall()
        for path in (f"/users/{user['id']}", "/users", "/users?q=user"):
            doors[0].get(path)
        times = {key: client.ttl(key) for key in client.keys("fsa:cache:*") if not key.endswith(b"stamp")}
    assert len(times) == 1, "only what is dear is kept in Redis"
    assert all(50 < ttl <= 60 for ttl in times.values())


@pytest.mark.parametrize(
    ("settings", "kept"), [({}, {"memory", "redis"}), ({"cache_ttl_s": 0}, set()), ({"cache_memory_mib": 0}, {"redis"})]
)
def test_what_is_turned_off_is_read_each_time(
    make_app: Callable[..., Flask],
    servers: Stack,
    empty: Callable[[], None],  # noqa: ARG001
    database: psycopg.Connection[Any],
    settings: dict[str, int],
    kept: set[str],
) -> None:
    """Somebody's own SQL, of which nobody is told, shows what is kept."""
    app = make_app(**settings)
    lend(app)
    door = Door(app)
    paths = {"one": f"/users/{door.make(name='old')['id']}", "all": "/users", "dear": "/users?role=member"}
    assert all(b'"name":"old"' in door.get(path).data for path in paths.values())
    database.execute("UPDATE users SET name = 'new'")
    old = {name for name, path in paths.items() if b'"name":"old"' in door.get(path).data}
    assert old == ({"one", "all", "dear"} if "memory" in kept else {"dear"} if "redis" in kept else set())
    with redis.Redis.from_url(servers.redis.url) as client:
        assert bool(client.keys("fsa:cache:page*")) == ("redis" in kept)
