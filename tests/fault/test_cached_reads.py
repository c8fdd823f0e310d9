"""Reads of whole applications: kept by memory and Redis, and never older than a write that was answered before."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from flask import Flask

from app.infra.memory import Memory
from app.infra.shared_table import SharedTable
from app.services import hot_users, listing, statistics
from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.cache_readers import never
from tests.support.leases import lend

FOR_S = 4.0


@pytest.fixture(autouse=True)
def all_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few users stand for so many that Redis is asked for what they have in common."""
    monkeypatch.setattr(listing, "CHEAP", -1)


@pytest.fixture
def doors(make_app: Callable[..., Flask], empty: Callable[[], None], tmp_path: Path) -> list[ApiClient]:  # noqa: ARG001
    """Two processes of one host: applications on one state, with their memory on."""
    apps = [make_app(state_file=str(tmp_path / "doors")) for _ in range(2)]
    for app in apps:
        lend(app)
    made = [ApiClient(app) for app in apps]
    for door in made:
        # A process that connects makes what Redis holds unreachable.
        door.listed(q="nobody")
    return made


def test_what_is_kept_needs_no_database(monkeypatch: pytest.MonkeyPatch, doors: list[ApiClient]) -> None:
    """Of one process in its memory, and what was dear in Redis for all."""
    user = doors[0].make()
    paths = [f"/users/{user['id']}", "/users", "/users?q=user"]
    first = [doors[0].get(path).data for path in paths]
    monkeypatch.setattr(hot_users, "find", lambda _: never())
    monkeypatch.setattr(listing, "_packed", lambda _: never())
    assert [doors[0].get(path).data for path in paths] == first
    assert doors[1].get(paths[-1]).data == first[-1]


def test_what_is_cheap_is_not_asked_of_redis(
    monkeypatch: pytest.MonkeyPatch, servers: Stack, doors: list[ApiClient], database: psycopg.Connection[Any]
) -> None:
    monkeypatch.setattr(listing, "CHEAP", 1_000)
    user = doors[0].make(name="Zebedee")
    database.execute("ANALYZE users")
    monkeypatch.setattr(statistics, "_GOOD_FOR_S", 0)
    with redis.Redis.from_url(servers.redis.url) as client:
        before = client.keys("fsa:cache:page*")
        for query in ("", "?q=zebedee", "?q=zeb", f"?username={user['username']}"):
            assert b"Zebedee" in doors[0].get(f"/users{query}").data
        assert client.keys("fsa:cache:page*") == before
        assert b"Zebedee" in doors[0].get("/users?sort=name&created_after=2020-01-01T00:00:00Z").data
        assert client.keys("fsa:cache:page*") != before, "what many may have is"


def test_what_nobody_has_counted_is_dear(
    monkeypatch: pytest.MonkeyPatch, servers: Stack, doors: list[ApiClient]
) -> None:
    """As in a table that was filled a moment ago."""
    monkeypatch.setattr(listing, "CHEAP", 1_000)
    monkeypatch.setattr(listing, "statistics", statistics.Statistics)
    doors[0].make(name="Zebedee")
    with redis.Redis.from_url(servers.redis.url) as client:
        before = client.keys("fsa:cache:page*")
        assert b"Zebedee" in doors[0].get("/users?q=zebedee").data
        assert client.keys("fsa:cache:page*") != before


def test_a_herd_of_requests_is_one_select(monkeypatch: pytest.MonkeyPatch, doors: list[ApiClient]) -> None:
    user, calls, original = doors[0].make(), [], hot_users.asked

    def slowly(*asked: Any) -> Any:
        calls.append(asked)
        time.sleep(0.2)
        return original(*asked)

    monkeypatch.setattr(hot_users, "asked", slowly)
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda _: doors[0].get(f"/users/{user['id']}").json, range(30)))
    assert found == [user] * 30
    assert len(calls) == 1


def test_a_reader_that_paused_after_its_select_spoils_neither_user_nor_page(
    monkeypatch: pytest.MonkeyPatch, doors: list[ApiClient]
) -> None:
    """The read began before the write and ends after it: its answer may be old, the next one may not."""
    user = doors[0].make(name="old")
    path = f"/users/{user['id']}"
    targets = [path, "/users", "/users?role=member"]
    selected, go_on = threading.Barrier(len(targets) + 1), threading.Event()

    def pausing(original: Callable[..., Any]) -> Callable[..., Any]:
        def select(*arguments: Any) -> Any:
            found = original(*arguments)
            if threading.current_thread().name.startswith("slow"):
                selected.wait(5)
                assert go_on.wait(5)
            return found

        return select

    monkeypatch.setattr(hot_users, "_read", pausing(hot_users._read))
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
    monkeypatch: pytest.MonkeyPatch, servers: Stack, doors: list[ApiClient]
) -> None:
    """Random reads and writes by threads through two processes of one host: single users, pages, filtered pages."""
    ids = [doors[0].make(username=f"u{number}")["id"] for number in range(4)]
    answered = dict.fromkeys(ids, 1)
    lock, stop, faults, reads, recalled = threading.Lock(), time.monotonic() + FOR_S, [], [0], [0]

    def counting(recall: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def counted(memory: Any, key: Any) -> Any:
            found = recall(memory, key)
            recalled[0] += found is not None
            return found

        return counted

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

    for kind in (Memory, SharedTable):
        monkeypatch.setattr(kind, "recall", counting(kind.recall))
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


def test_what_redis_keeps_goes_by_itself_after_its_time(servers: Stack, doors: list[ApiClient]) -> None:
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
    door = ApiClient(app)
    paths = {"one": f"/users/{door.make(name='old')['id']}", "all": "/users", "dear": "/users?role=member"}
    assert all(b'"name":"old"' in door.get(path).data for path in paths.values())
    database.execute("UPDATE users SET name = 'new'")
    old = {name for name, path in paths.items() if b'"name":"old"' in door.get(path).data}
    assert old == ({"one", "all", "dear"} if "memory" in kept else {"dear"} if "redis" in kept else set())
    with redis.Redis.from_url(servers.redis.url) as client:
        assert bool(client.keys("fsa:cache:page*")) == ("redis" in kept)
