"""The express lane writes what Flask's routes write, and answers what they answer, byte for byte."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import orjson
import psycopg
import pytest
from flask import Flask

from app.web import watching
from tests.support.lanes import Crowd, Given, Lanes
from tests.support.leases import lend
from tests.support.rows import columns, history

USER = "/api/users/{twin}"
USERS = "/api/users"
_LEFT = re.compile(r"r=\d+;t=\d+")
_VARYING = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|twin[ab]")


def same_but_for_who(answer: Given) -> tuple[str, list[tuple[str, str]], bytes]:
    """All but what two twins can't have in common: ids, names and moments, and how many writes are left."""
    status, headers, body = answer.anonymous
    shown = [(name, _LEFT.sub("", _VARYING.sub(b"", value.encode()).decode())) for name, value in headers]
    return status, shown, _VARYING.sub(b"", body)


def sent(lanes: Lanes, way: str, path: str, twin: str, token: str, **kwargs: Any) -> Given:
    kwargs["data"] = kwargs.get("data", b"").replace(b"{twin}", f"twin{way}".encode())
    going = {"a": lanes.fast, "b": lanes.slow}[way]
    return going(path.format(twin=twin), token, **kwargs)


@pytest.fixture
def twins(crowd: Crowd) -> dict[str, dict[str, Any]]:
    """Two users who are alike but for their names: one for each lane."""
    fields = {"name": "Twin", "attributes": {"team": "blue", "n": 1.50}}
    return {way: crowd.house.make(username=f"twin{way}", **fields) for way in "ab"}


PLAIN: list[tuple[str, str, Any]] = [
    ("POST", USERS, b'{"username": "new-{twin}"}'),
    ("POST", "/users", b'{"email": "New-{twin}@Example.org", "name": "N\\u00e9w \\" \\\\", "attributes": {"a": 1e20}}'),
    ("POST", USERS, b'{"username": "new-{twin}", "role": "editor", "active": false, "password": "correct horse 1"}'),
    ("PATCH", USER, b'{"name": "New"}'),
    ("PATCH", "/users/{twin}", b'{"attributes": {"team": null, "more": [1, {"a": "\xe7\x94\xb0"}]}}'),
    ("PATCH", USER, b'{"email": "{twin}@example.org", "username": "{twin}-2"}'),
    ("PATCH", USER, b'{"name": null, "attributes": null}'),
    ("PATCH", USER, b'{"role": "viewer", "active": false}'),
    ("PATCH", USER, b'{"password": "correct horse 2"}'),
    # Which changes nothing.
    ("PATCH", USER, b'{"name": "Twin"}'),
    ("PATCH", USER, b"{}"),
    # What GET gave, and is not taken.
    ("PATCH", USER, b'{"id": "x", "version": 7, "created_at": null, "name": "New"}'),
    # What is refused.
    ("POST", USERS, b"{}"),
    ("POST", USERS, b"[]"),
    ("POST", USERS, b'{"username": "new", "username": "new"}'),
    ("POST", USERS, b'{"username": "n\\u0000"}'),
    ("POST", USERS, b'{"username": "\xff"}'),
    ("POST", USERS, b'{"username": "new", "unknown": 1, "role": "king", "email": "x"}'),
    ("POST", USERS, b'{"username": "twina"}'),
    ("POST", USERS, b'{"username": "bob", "email": "bob@example.org"}'),
    ("PATCH", USER, b'{"username": "BOB"}'),
    ("PATCH", USER, b'{"username": ""}'),
    ("PATCH", USER, b'{"active": 1, "name": 2}'),
    ("PATCH", USER, b"null"),
    ("PATCH", USER, b'{"attributes": {"a": ' + b"[" * 70 + b"]" * 70 + b"}}"),
    ("PATCH", f"/api/users/{uuid.UUID(int=7)}", b'{"name": "New"}'),
]


@pytest.mark.parametrize("who", ["root", "ada"])
@pytest.mark.parametrize("write", PLAIN, ids=str)
def test_both_lanes_write_and_answer_the_same(
    lanes: Lanes,
    crowd: Crowd,
    twins: dict[str, dict[str, Any]],
    database: psycopg.Connection[Any],
    write: tuple[str, str, bytes],
    who: str,
) -> None:
    (method, path, data), token = write, crowd.tokens[who]
    assert lanes.is_fast(USERS, token)
    kwargs = {"method": method, "content_type": "application/json", "headers": {"User-Agent": "Agent/1 \x01é"}}
    answers, left = [], []
    for way, twin in twins.items():
        before = lanes.entered
        answer = sent(lanes, way, path, twin["id"], token, data=data, **{**kwargs, "headers": dict(kwargs["headers"])})
        assert lanes.entered == before, "the lane left it to Flask"
        answers.append(same_but_for_who(answer))
        location = dict(answer.headers).get("Location", twin["id"])
        user_id = uuid.UUID(location[-36:])
        rows = [columns(database, user_id), history(database, user_id)]
        left.append(_VARYING.sub(b"", re.sub(rb"\b[0-9a-f]{32}\b", b"", repr(rows).encode())))
    assert answers[0] == answers[1]
    assert left[0] == left[1]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"headers": {"If-Match": '"1"'}},
        {"headers": {"If-Match": '"7"'}},
        {"headers": {"If-None-Match": "*"}},
        {"headers": {"Idempotency-Key": "key"}},
        {"headers": {"Content-Encoding": "gzip"}},
        {"headers": {"Content-Encoding": "identity"}},
        {"content_type": "application/json; charset=utf-8"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": "text/plain"},
        {"content_type": None},
        {"query_string": "a=1"},
        {"data": b" " * 1_100_000 + b'{"name": "New"}'},
        {"data": b""},
        {"method": "PUT"},
        {"method": "DELETE"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [("POST", USERS), ("PATCH", USER)])
def test_what_is_not_plain_is_left_to_flask(
    lanes: Lanes, crowd: Crowd, twins: dict[str, dict[str, Any]], method: str, path: str, kwargs: dict[str, Any]
) -> None:
    token = crowd.tokens["root"]
    assert lanes.is_fast(USERS, token)
    plain = {"method": method, "content_type": "application/json", "data": b'{"username": "new-{twin}"}'}
    answers, before = [], lanes.entered
    for way, twin in twins.items():
        given = {**plain, **kwargs, "headers": dict(kwargs.get("headers", {}))}
        answers.append(sent(lanes, way, path, twin["id"], token, **given))
    assert lanes.entered == before + 1
    # Keys are of one request each: the second has another body.
    statuses = {answer.status for answer in answers}
    assert len(statuses) == 1 or "Idempotency-Key" in kwargs.get("headers", {})


@pytest.mark.parametrize("who", ["vera", "bob", "viewer of ada", "member of ada", "lowered", "revoked", "off", "gone"])
@pytest.mark.parametrize(("method", "path"), [("POST", USERS), ("PATCH", USER)])
def test_who_may_not_is_refused_by_flask(
    lanes: Lanes, crowd: Crowd, twins: dict[str, dict[str, Any]], method: str, path: str, who: str
) -> None:
    lanes.fast("/api/me", crowd.tokens[who])
    answers = [
        sent(lanes, way, path, twin["id"], crowd.tokens[who], method=method, data=b'{"name": "x"}',
             content_type="application/json")
        for way, twin in twins.items()
    ]  # fmt: skip
    assert same_but_for_who(answers[0]) == same_but_for_who(answers[1])
    assert answers[0].status[:3] in ("401", "403")


def test_one_may_change_oneself_through_flask(lanes: Lanes, crowd: Crowd) -> None:
    body = {"method": "PATCH", "data": b'{"name": "Me"}', "content_type": "application/json"}
    answer = lanes.fast(f"/api/users/{crowd.ids['bob']}", crowd.tokens["bob"], **body)
    assert (answer.status, orjson.loads(answer.body)["name"]) == ("200 OK", "Me")


def test_a_body_that_ends_too_early_is_400_and_writes_nothing(
    lanes: Lanes, crowd: Crowd, database: psycopg.Connection[Any]
) -> None:
    assert lanes.is_fast(USERS, crowd.tokens["root"])
    answers = [
        going(USERS, crowd.tokens["root"], method="POST", data=b'{"username": "half"}', content_type="application/json",
              environ_overrides={"CONTENT_LENGTH": "100"})
        for going in (lanes.fast, lanes.slow)
    ]  # fmt: skip
    assert [answer.status[:3] for answer in answers] == ["400", "400"]
    assert same_but_for_who(answers[0]) == same_but_for_who(answers[1])
    assert database.execute("SELECT count(*) FROM users WHERE username = 'half'").fetchone() == (0,)


def test_the_line_that_is_logged_of_a_write_is_the_same(
    lanes: Lanes, crowd: Crowd, twins: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []

    class Log:
        def log(self, _level: int, _event: str, **fields: Any) -> None:
            lines.append(fields)

    assert lanes.is_fast(USERS, crowd.tokens["root"])
    monkeypatch.setattr(watching, "log", Log())
    monkeypatch.setattr(watching, "is_written", lambda _: True)
    for method, path, data in (PLAIN[0], PLAIN[1], PLAIN[3], PLAIN[4], PLAIN[12], PLAIN[-1]):
        lines.clear()
        kwargs = {"method": method, "data": data, "content_type": "application/json"}
        for way, twin in twins.items():
            headers = {"X-Request-ID": "sane"}
            sent(lanes, way, path, twin["id"], crowd.tokens["root"], headers=headers, **kwargs)
        fast, slow = ({name: value for name, value in line.items() if name != "ms"} for line in lines)
        assert fast == slow
        assert (fast["method"], fast["request_id"]) == (method, "sane")


def test_writes_through_the_lane_are_counted(crowd: Crowd, make_app: Callable[..., Flask]) -> None:
    app = make_app(write_limit=3)
    lend(app)
    lanes, token = Lanes(app), crowd.house.token(crowd.house.admin.user)["token"]
    assert lanes.is_fast(USERS, token)
    kwargs = {"method": "PATCH", "data": b'{"name": "New"}', "content_type": "application/json"}
    answers = [lanes.fast(f"/api/users/{crowd.ids['bob']}", token, **kwargs) for _ in range(5)]
    assert [answer.status[:3] for answer in answers] == ["200", "200", "200", "429", "429"]
    slow = lanes.slow(f"/api/users/{crowd.ids['bob']}", token, **kwargs)
    shown = [[name for name, _ in answer.headers] for answer in (answers[-1], slow)]
    assert shown[0] == shown[1]
    assert dict(answers[0].headers)["RateLimit"].startswith('"writes";r=2;')
    lanes.close()
