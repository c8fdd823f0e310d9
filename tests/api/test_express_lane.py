"""The express lane takes what is plain, from memory, and leaves to Flask whatever is not."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import event

from app.infra.postgres import DeadlineConnection, Statement
from app.infra.shared import Phase
from app.services.tokens import Uses
from app.web import watching
from tests.support.lanes import Crowd, Lanes, require_same
from tests.support.leases import lend
from tests.support.secured_app import SecuredApp


@pytest.fixture
def asked(own: Flask, commands: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What PostgreSQL and Redis are asked from now on."""
    engine, send = own.extensions["fullstack"].engine, DeadlineConnection.ask

    def asking(connection: DeadlineConnection, statement: Statement, *given: Any) -> Any:
        commands.append(statement.sql)
        return send(connection, statement, *given)

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        commands.append(statement)

    monkeypatch.setattr(DeadlineConnection, "ask", asking)
    event.listen(engine, "before_cursor_execute", note)
    yield commands
    event.remove(engine, "before_cursor_execute", note)


@dataclass
class Log:
    """What would be logged."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def log(self, level: int, event: str, **values: Any) -> None:
        self.lines.append({"level": level, "event": event, **values})


@pytest.mark.parametrize("who", ["root", "ada", "vera", "lasting"])
def test_the_lane_answers_from_memory_and_flask_is_not_entered(
    lanes: Lanes, crowd: Crowd, asked: list[str], who: str
) -> None:
    paths = [
        f"/api/users/{crowd.ids['bob']}",
        f"/users/{crowd.ids['root']}",
        "/api/me",
        "/me",
        "/api/users",
        "/users?q=a",
    ]
    for path in paths:
        assert lanes.is_fast(path, crowd.tokens[who])
    before, known = lanes.entered, asked.copy()
    for path in paths * 3:
        assert lanes.fast(path, crowd.tokens[who]).status == "200 OK"
    assert (lanes.entered, asked) == (before, known)


@pytest.mark.parametrize(
    ("who", "path", "is_fast"),
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
def test_the_lane_takes_what_is_plain_and_leaves_what_is_not(
    lanes: Lanes, crowd: Crowd, who: str, path: str, is_fast: bool
) -> None:
    assert lanes.is_fast(path.format(**crowd.ids), crowd.tokens[who]) == is_fast


def test_whoever_asks_without_a_token_is_left_to_flask(lanes: Lanes, crowd: Crowd) -> None:
    session = {"Cookie": crowd.house.admin.headers["Cookie"]}
    for path in (f"/api/users/{crowd.ids['bob']}", "/api/me", "/api/users"):
        assert not lanes.is_fast(path)
        assert not lanes.is_fast(path, headers=session)
        assert require_same(lanes, path, headers=session).status == "200 OK"
        assert require_same(lanes, path, crowd.tokens["ada"], headers=session).status[:3] == "401"


@pytest.mark.parametrize("what", ["lease", "lease in the past", "starting", "no memory", "no cache"])
def test_while_nothing_may_be_remembered_all_is_left_to_flask(
    lanes: Lanes, crowd: Crowd, make_app: Callable[..., Flask], what: str
) -> None:
    state, path = crowd.house.app.extensions["fullstack"].state, f"/api/users/{crowd.ids['bob']}"
    assert lanes.is_fast(path, crowd.tokens["ada"])
    if what == "starting":
        state.phase = Phase.STARTING
    elif what.startswith("lease"):
        state.lease[0] = 0 if what == "lease" else time.monotonic_ns() - 1
    else:
        app = make_app(**{"no memory": {"cache_memory_mib": 0}, "no cache": {"cache_ttl_s": 0}}[what])
        lend(app)
        lanes = Lanes(app)
    for each in (path, "/api/me", "/api/users"):
        assert not lanes.is_fast(each, crowd.tokens["ada"])
        assert require_same(lanes, each, crowd.tokens["ada"]).status[:3] == ("503" if what == "starting" else "200")
    state.phase = Phase.SERVING
    lend(crowd.house.app)
    assert crowd.house.by_session(crowd.house.admin.user).get("/users").status_code == 200


def test_what_goes_wrong_in_the_lane_is_left_to_flask(
    lanes: Lanes, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/users/{crowd.ids['bob']}"
    assert lanes.is_fast(path, crowd.tokens["root"])

    def fail(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(lanes.express, "_document", fail)
    before = lanes.entered
    assert lanes.fast(path, crowd.tokens["root"]).status == "200 OK"
    assert lanes.entered == before + 1


def test_no_secret_lies_in_memory(lanes: Lanes, crowd: Crowd) -> None:
    secret = crowd.tokens["root"]
    assert lanes.is_fast("/api/me", secret)
    memory = crowd.house.app.extensions["fullstack"].answers.memory
    kept = repr([(key, entry) for key, entry in memory._entries.items()])
    assert secret not in kept
    assert repr(hashlib.sha256(f"Bearer {secret}".encode()).digest()) in kept


def test_the_line_that_is_logged_is_the_same(lanes: Lanes, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(watching, "log", log)
    monkeypatch.setattr(watching, "is_written", lambda _: True)
    bob = crowd.ids["bob"]
    for path in (f"/api/users/{bob}", f"/users/{bob}", "/api/me", "/me", "/api/users?q=a", "/users", "/users?limit=x"):
        is_fast = lanes.is_fast(path, crowd.tokens["root"])
        assert is_fast == ("x" not in path)
        log.lines.clear()
        headers = {"X-Request-ID": "sane"}
        for way in (lanes.fast, lanes.slow):
            way(path, crowd.tokens["root"], headers=headers)
        fast, slow = log.lines
        assert 0 <= fast.pop("ms") < 1000
        assert 0 <= slow.pop("ms") < 1000
        assert fast == slow
        assert slow["route"] is not None
        assert (slow["method"], slow["status"], slow["request_id"]) == ("GET", 200 if is_fast else 422, "sane")


def test_a_line_names_the_id_that_was_sent_back(lanes: Lanes, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    assert lanes.is_fast("/api/me", crowd.tokens["root"])
    monkeypatch.setattr(watching, "log", log)
    monkeypatch.setattr(watching, "is_written", lambda _: True)
    given_ids = [
        lanes.fast("/api/me", crowd.tokens["root"], headers={"X-Request-ID": "in sane"}).request_id for _ in "ab"
    ]
    assert [line["request_id"] for line in log.lines] == given_ids


def test_ids_differ_from_request_to_request(lanes: Lanes, crowd: Crowd) -> None:
    assert lanes.is_fast("/api/users", crowd.tokens["root"])
    assert len({lanes.fast("/api/users", crowd.tokens["root"]).request_id for _ in range(50)}) == 50


def test_a_note_of_a_tokens_use_is_made_each_minute(
    lanes: Lanes, people: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    token = people.token(people.make("viewer"))
    uses = people.app.extensions["fullstack"].part(Uses)

    def noted() -> Any:
        return database.execute("SELECT last_used_at FROM tokens WHERE id = %s", [token["id"]]).fetchone()[0]

    assert noted() is None
    assert lanes.is_fast("/api/users", token["token"])
    first = noted()
    assert first is not None
    for _ in range(5):
        lanes.fast("/api/users", token["token"])
    assert noted() == first
    # A minute later, by both clocks.
    uses._due[token["id"]] -= 61
    database.execute("UPDATE tokens SET last_used_at = last_used_at - interval '61 seconds'")
    before = lanes.entered
    lanes.fast("/api/users", token["token"])
    assert lanes.entered == before + 1
    assert noted() > first - timedelta(seconds=61)
    assert noted() >= first
    assert lanes.is_fast("/api/users", token["token"])
