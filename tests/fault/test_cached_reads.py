"""Cached reads of an application: never older than a write that was answered before."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis
from flask import Flask, request_started

from app.db.database import Database
from app.http.services import services_of
from app.search import bounds
from app.search.pages import UserPages
from app.search.planner import PlannerStats, Statistics
from app.users.reads import UserReads
from app.users.sql import GET_USERS
from embedded import Stack
from tests.support.cache_readers import must_not_run
from tests.support.pollers import polling
from tests.support.secured_app import SecuredApp, UserClient
from tests.support.waiting import wait_until

FOR_S = 4.0
PAGES = "fsa:answer:*:page:*"


@pytest.fixture(autouse=True)
def all_expensive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every page as expensive, so Redis is used with few users."""
    monkeypatch.setattr(bounds, "MAX_UNCACHED_ROWS", -1)


def admin_client(app: Flask) -> UserClient:
    """A client with a token of the administrator of a new SecuredApp."""
    secured_app = SecuredApp(app)
    return secured_app.token_client(secured_app.admin.user)


@pytest.fixture
def app_with_caches(make_app: Callable[..., Flask], empty: Callable[[], None]) -> Iterator[Flask]:  # noqa: ARG001
    """An application with a change poller, so all of its caches are used."""
    app = make_app()
    with polling(app):
        yield app


@pytest.fixture
def api(app_with_caches: Flask) -> UserClient:
    return admin_client(app_with_caches)


@pytest.fixture
def internal_connection(database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A connection whose changes are marked as internal. They invalidate nothing, so they show what is cached."""
    database.execute("SET fullstack_app.internal = 'yes'")
    return database


def wait_for_poller(app: Flask) -> None:
    """Wait until the poller has seen all writes, because only then Redis is used."""
    known = services_of(app).known_changes
    wait_until(lambda: known.last_poll(["users"]) is not None)


def test_cached_reads_need_no_database(
    monkeypatch: pytest.MonkeyPatch, app_with_caches: Flask, api: UserClient, make_app: Callable[..., Flask]
) -> None:
    """A user and a page are cached in memory, and expensive answers in Redis for all hosts."""
    user = api.create_user()
    paths = [f"/users/{user['id']}", "/users", "/users?q=user"]
    wait_for_poller(app_with_caches)
    first = [api.get(path).data for path in paths]
    other = make_app()
    with polling(other):
        elsewhere = UserClient(other, api.headers, {})
        # This caches the token.
        assert elsewhere.get("/me").status_code == 200
        wait_for_poller(other)
        # The planner statistics are read once a minute.
        assert elsewhere.get("/users?q=nobody").json == []
        monkeypatch.setattr(Database, "execute", lambda *_, **__: must_not_run())
        monkeypatch.setattr(Database, "connection", lambda *_: must_not_run())
        assert [api.get(path).data for path in paths] == first
        assert elsewhere.get(paths[-1]).data == first[-1]


def test_cheap_pages_are_not_cached_in_redis(
    monkeypatch: pytest.MonkeyPatch,
    servers: Stack,
    app_with_caches: Flask,
    api: UserClient,
    database: psycopg.Connection[Any],
) -> None:
    monkeypatch.setattr(bounds, "MAX_UNCACHED_ROWS", 1_000)
    user = api.create_user(name="Zebedee")
    database.execute("ANALYZE users")
    known = PlannerStats(services_of(app_with_caches).database).snapshot()
    monkeypatch.setattr(PlannerStats, "snapshot", lambda _: known)
    wait_for_poller(app_with_caches)
    with redis.Redis.from_url(servers.redis.url) as client:
        before = client.keys(PAGES)
        for query in ("", "?q=zebedee", "?q=zeb", f"?username={user['username']}"):
            assert b"Zebedee" in api.get(f"/users{query}").data
        assert client.keys(PAGES) == before
        assert b"Zebedee" in api.get("/users?sort=name&created_after=2020-01-01T00:00:00Z").data
        assert client.keys(PAGES) != before, "what many may have is"


def test_pages_without_statistics_are_treated_as_expensive(
    monkeypatch: pytest.MonkeyPatch, servers: Stack, app_with_caches: Flask, api: UserClient
) -> None:
    """Such as a table that was filled a moment ago."""
    monkeypatch.setattr(bounds, "MAX_UNCACHED_ROWS", 1_000)
    monkeypatch.setattr(PlannerStats, "snapshot", lambda _: Statistics())
    api.create_user(name="Zebedee")
    wait_for_poller(app_with_caches)
    with redis.Redis.from_url(servers.redis.url) as client:
        before = client.keys(PAGES)
        assert b"Zebedee" in api.get("/users?q=zebedee").data
        assert client.keys(PAGES) != before


def test_concurrent_reads_of_one_user_are_at_most_two_selects(
    monkeypatch: pytest.MonkeyPatch, app_with_caches: Flask, api: UserClient
) -> None:
    """One SELECT for the first request, and one for all requests that arrive meanwhile."""
    user, calls, original = api.create_user(), [], Database.execute

    def slowly(database: Database, statement: str, *values: object, **options: Any) -> Any:
        if statement is GET_USERS:
            calls.append(values)
            # All others have come by the end of it, on a busy machine too.
            time.sleep(1)
        return original(database, statement, *values, **options)

    monkeypatch.setattr(Database, "execute", slowly)
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda _: api.get(f"/users/{user['id']}").json, range(30)))
    assert found == [user] * 30
    assert len(calls) <= 2
    assert app_with_caches is not None


def test_a_reader_that_paused_after_its_select_caches_no_stale_value(
    monkeypatch: pytest.MonkeyPatch, api: UserClient
) -> None:
    """The read begins before the write and ends after it: its response may be old, the next one may not."""
    user = api.create_user(name="old")
    path = f"/users/{user['id']}"
    targets = [path, "/users", "/users?role=member"]
    selected, go_on = threading.Barrier(len(targets) + 1), threading.Event()

    def pausing(original: Callable[..., Any]) -> Callable[..., Any]:
        def select(*arguments: Any, **options: Any) -> Any:
            found = original(*arguments, **options)
            if threading.current_thread().name.startswith("slow"):
                selected.wait(5)
                assert go_on.wait(5)
            return found

        return select

    with monkeypatch.context() as patches, ThreadPoolExecutor(len(targets), thread_name_prefix="slow") as pool:
        patches.setattr(UserReads, "get", pausing(UserReads.get))
        patches.setattr(UserPages, "page", pausing(UserPages.page))
        slow = [pool.submit(api.get, target) for target in targets]
        selected.wait(5)
        api.patch(path, {"name": "new"})
        go_on.set()
        assert [future.result().status_code for future in slow] == [200] * len(targets)
    for _ in range(2):
        assert api.get(path).json["name"] == "new"
        for filters in ({}, {"role": "member"}):
            assert [shown["name"] for shown in api.list_users(**filters) if shown["id"] == user["id"]] == ["new"]


def test_no_read_is_older_than_an_answered_write(servers: Stack, app_with_caches: Flask, api: UserClient) -> None:
    """Random reads and writes by threads: single users, pages, filtered pages."""
    ids = [api.create_user(username=f"u{number}")["id"] for number in range(4)]
    answered = dict.fromkeys(ids, 1)
    lock, stop, faults, reads, uncached = threading.Lock(), time.monotonic() + FOR_S, [], [0], [0]

    def count(*_: object, **__: object) -> None:
        uncached[0] += 1

    def write(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        while time.monotonic() < stop and not faults:
            user_id = chance.choice(ids)
            version = api.patch(f"/users/{user_id}", {"attributes": {"n": chance.random()}}).json["version"]
            with lock:
                answered[user_id] = max(answered[user_id], version)
            # So long that Redis is used now and then: the poller has to hear of the last write.
            time.sleep(chance.random() * 0.4)

    def read(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        while time.monotonic() < stop and not faults:
            with lock:
                least = dict(answered)
            if chance.random() < 0.5:
                user_id = chance.choice(ids)
                found = {user_id: api.get(f"/users/{user_id}").json["version"]}
            else:
                filters = chance.choice([{"q": "u"}, {"active": "true"}])
                # Of many kinds, so that memory does not know all.
                shown = api.list_users(
                    sort=chance.choice(["name", "-username"]), limit=chance.randrange(50, 60), **filters
                )
                found = {user["id"]: user["version"] for user in shown if user["id"] in answered}
                assert found.keys() == set(ids)
            reads[0] += 1
            faults.extend((key, version, least[key]) for key, version in found.items() if version < least[key])

    request_started.connect(count, app_with_caches)
    with redis.Redis.from_url(servers.redis.url) as client:
        before = client.info("stats")["keyspace_hits"]
        with ThreadPoolExecutor(6) as pool:
            for future in [pool.submit(write if n < 2 else read, n) for n in range(6)]:
                future.result()
        hits = client.info("stats")["keyspace_hits"] - before
    print(f"{reads[0]} reads, {uncached[0]} requests to Flask, {hits} answers from Redis")  # noqa: T201 - shown by -rP
    assert faults == []
    assert reads[0] > 100
    assert uncached[0] < reads[0] - 20
    assert hits > 0


def test_values_in_redis_expire_after_cache_ttl_s(servers: Stack, app_with_caches: Flask, api: UserClient) -> None:
    user = api.create_user()
    with redis.Redis.from_url(servers.redis.url) as client:
        client.flushall()
        wait_for_poller(app_with_caches)
        for path in (f"/users/{user['id']}", "/users", "/users?q=user"):
            api.get(path)
        times = {key: client.ttl(key) for key in client.keys("fsa:answer:*")}
    assert len(times) == 1, "only what is expensive is kept in Redis"
    longest = services_of(app_with_caches).settings.cache_ttl_s
    assert all(longest - 10 < ttl <= longest for ttl in times.values())


@pytest.mark.parametrize(
    ("settings", "kept"), [({}, {"memory", "redis"}), ({"cache_ttl_s": 0}, set()), ({"cache_memory_mib": 0}, {"redis"})]
)
def test_with_disabled_caches_each_request_reads_the_database(
    make_app: Callable[..., Flask],
    servers: Stack,
    empty: Callable[[], None],  # noqa: ARG001
    internal_connection: psycopg.Connection[Any],
    settings: dict[str, int],
    kept: set[str],
) -> None:
    """An internal change shows what is cached."""
    app = make_app(**settings)
    with polling(app):
        api = admin_client(app)
        made = api.create_user(name="old")
        paths = {"one": f"/users/{made['id']}", "all": "/users", "expensive": "/users?role=member"}
        wait_for_poller(app)
        assert all(b'"name":"old"' in api.get(path).data for path in paths.values())
        internal_connection.execute("UPDATE users SET name = 'new' WHERE username <> 'root'")
        old = {name for name, path in paths.items() if b'"name":"old"' in api.get(path).data}
    assert old == ({"one", "all", "expensive"} if "memory" in kept else {"expensive"} if "redis" in kept else set())
    with redis.Redis.from_url(servers.redis.url) as client:
        assert bool(client.keys(PAGES)) == ("redis" in kept)
