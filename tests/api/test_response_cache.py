"""The response cache: the requests that it answers without Flask, PostgreSQL and Redis."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import event

from app.auth import tokens
from app.cache.generations import clock_ns
from app.db.database import Database
from app.http import request_log
from app.http.services import services_of
from app.ops.service_state import Phase
from tests.support.cache_pair import CachePair, SampleUsers, require_same
from tests.support.engines import engine_of
from tests.support.leases import grant_lease
from tests.support.secured_app import SecuredApp


@pytest.fixture
def server_commands(own_app: Flask, commands: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The commands that are sent to PostgreSQL and Redis from now on."""
    engine, execute = engine_of(own_app), Database.execute

    def asking(database: Database, sql: str, *given: Any, **options: Any) -> Any:
        commands.append(sql)
        return execute(database, sql, *given, **options)

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        commands.append(statement)

    monkeypatch.setattr(Database, "execute", asking)
    event.listen(engine, "before_cursor_execute", note)
    yield commands
    event.remove(engine, "before_cursor_execute", note)


@dataclass
class Log:
    """What would be logged."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def is_enabled_for(self, level: int) -> bool:
        return level >= logging.INFO

    def log(self, level: int, event: str, **values: Any) -> None:
        self.lines.append({"level": level, "event": event, **values})


@pytest.mark.parametrize("token_name", ["root", "ada", "vera", "lasting"])
def test_a_hit_asks_neither_flask_nor_postgresql_nor_redis(
    pair: CachePair, sample_users: SampleUsers, server_commands: list[str], token_name: str
) -> None:
    paths = [
        f"/api/users/{sample_users.ids['bob']}",
        f"/users/{sample_users.ids['root']}",
        "/api/me",
        "/me",
        "/api/users",
        "/users?q=a",
    ]
    for path in paths:
        assert pair.is_hit(path, sample_users.tokens[token_name])
    before, known = pair.flask_requests, server_commands.copy()
    for path in paths * 3:
        assert pair.cached(path, sample_users.tokens[token_name]).status == "200 OK"
    assert (pair.flask_requests, server_commands) == (before, known)


@pytest.mark.parametrize(
    ("token_name", "path", "is_hit"),
    [
        ("bob", "/api/users/{bob}", True),
        ("bob", "/api/me", True),
        ("bob", "/api/users/{ada}", False),
        ("bob", "/api/users", False),
        ("viewer of ada", "/api/users/{bob}", True),
        ("viewer of ada", "/api/users", True),
        ("viewer of ada", "/api/me", False),
        ("member of ada", "/api/users/{ada}", False),
        ("member of root", "/api/users/{root}", False),
        ("root", "/api/users/{gone}", False),
        ("root", "/api/users/{nobody}", False),
        ("root", "/api/users/{bob}?", True),
        ("root", "/api/users/{bob}?x=1", False),
        ("root", "/api/users?limit=x", False),
        ("root", "/api/tokens", False),
        ("revoked", "/api/me", False),
        ("expired", "/api/me", False),
        ("off", "/api/me", False),
    ],
)
def test_only_complete_responses_with_status_200_are_cached(
    pair: CachePair, sample_users: SampleUsers, token_name: str, path: str, is_hit: bool
) -> None:
    assert pair.is_hit(path.format(**sample_users.ids), sample_users.tokens[token_name]) == is_hit


def test_requests_without_a_token_are_not_answered_from_the_cache(pair: CachePair, sample_users: SampleUsers) -> None:
    session = {"Cookie": sample_users.secured_app.admin.headers["Cookie"]}
    for path in (f"/api/users/{sample_users.ids['bob']}", "/api/me", "/api/users"):
        assert not pair.is_hit(path)
        assert not pair.is_hit(path, headers=session)
        assert require_same(pair, path, headers=session).status == "200 OK"
        assert require_same(pair, path, sample_users.tokens["ada"], headers=session).status[:3] == "401"


@pytest.mark.parametrize("what", ["lease", "lease in the past", "starting", "no memory", "no cache"])
def test_while_nothing_may_be_cached_flask_answers_all(
    pair: CachePair, sample_users: SampleUsers, make_app: Callable[..., Flask], without_caches: Flask, what: str
) -> None:
    services, path = (
        services_of(sample_users.secured_app.app),
        f"/api/users/{sample_users.ids['bob']}",
    )
    assert pair.is_hit(path, sample_users.tokens["ada"])
    if what == "starting":
        # The change poller, who has the lease, waits until the database is migrated.
        services.generations.prolong_lease(0)
        services.state.phase = services_of(without_caches).state.phase = Phase.STARTING
    elif what.startswith("lease"):
        services.generations.prolong_lease(0 if what == "lease" else clock_ns() - 1)
    else:
        app = make_app(**{"no memory": {"cache_memory_mib": 0}, "no cache": {"cache_ttl_s": 0}}[what])
        grant_lease(app)
        pair = CachePair(app, without_caches)
    for each in (path, "/api/me", "/api/users"):
        assert not pair.is_hit(each, sample_users.tokens["ada"])
        assert require_same(pair, each, sample_users.tokens["ada"]).status[:3] == (
            "503" if what == "starting" else "200"
        )
    services.state.phase = services_of(without_caches).state.phase = Phase.UNMANAGED
    grant_lease(sample_users.secured_app.app)
    assert sample_users.secured_app.session_client(sample_users.secured_app.admin.user).get("/users").status_code == 200


def test_no_secret_lies_in_memory(pair: CachePair, sample_users: SampleUsers) -> None:
    secret = sample_users.tokens["root"]
    assert pair.is_hit("/api/me", secret)
    cache = services_of(sample_users.secured_app.app).local_cache
    found = cache.get(hashlib.sha256(secret.encode()).digest())
    assert found is not None, "it is kept under another key, and this test shows nothing"
    assert secret not in repr(found)
    assert cache.get(secret) is None


def test_the_line_that_is_logged_is_the_same(
    pair: CachePair, sample_users: SampleUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    monkeypatch.setattr(request_log, "log", log)
    bob = sample_users.ids["bob"]
    for path in (f"/api/users/{bob}", f"/users/{bob}", "/api/me", "/me", "/api/users?q=a", "/users", "/users?limit=x"):
        is_hit = pair.is_hit(path, sample_users.tokens["root"])
        assert is_hit == ("x" not in path)
        log.lines.clear()
        headers = {"X-Request-ID": "sane"}
        for way in (pair.cached, pair.uncached):
            way(path, sample_users.tokens["root"], headers=headers)
        fast, slow = log.lines
        assert 0 <= fast.pop("ms") < 1000
        assert 0 <= slow.pop("ms") < 1000
        assert (fast.pop("cached"), slow.pop("cached")) == (is_hit, False)
        assert fast == slow
        assert slow["route"] is not None
        assert (slow["method"], slow["status"], slow["request_id"]) == ("GET", 200 if is_hit else 422, "sane")


def test_a_line_names_the_id_that_was_sent_back(
    pair: CachePair, sample_users: SampleUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    assert pair.is_hit("/api/me", sample_users.tokens["root"])
    monkeypatch.setattr(request_log, "log", log)
    given_ids = [
        pair.cached("/api/me", sample_users.tokens["root"], headers={"X-Request-ID": "in sane"}).request_id
        for _ in "ab"
    ]
    assert [line["request_id"] for line in log.lines] == given_ids


def test_ids_differ_from_request_to_request(pair: CachePair, sample_users: SampleUsers) -> None:
    assert pair.is_hit("/api/users", sample_users.tokens["root"])
    assert len({pair.cached("/api/users", sample_users.tokens["root"]).request_id for _ in range(50)}) == 50


def test_a_note_of_a_tokens_use_is_made_each_minute(
    pair: CachePair, own_secured_app: SecuredApp, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = own_secured_app.token(own_secured_app.create_user("viewer"))

    def noted() -> Any:
        return database.execute("SELECT last_used_at FROM tokens WHERE id = %s", [token["id"]]).fetchone()[0]

    assert noted() is None
    assert pair.is_hit("/api/users", token["token"])
    first = noted()
    assert first is not None
    for _ in range(5):
        pair.cached("/api/users", token["token"])
    assert noted() == first
    # A minute later, by both clocks.
    later = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + 61)
    monkeypatch.setattr(tokens, "time", later)
    database.execute("UPDATE tokens SET last_used_at = last_used_at - interval '61 seconds'")
    before = pair.flask_requests
    pair.cached("/api/users", token["token"])
    assert pair.flask_requests == before + 1
    assert noted() > first - timedelta(seconds=61)
    assert noted() >= first
    assert pair.is_hit("/api/users", token["token"])
