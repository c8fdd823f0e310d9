"""Using API tokens: shown once, checked before any look-up, ended at once."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from app.auth import tokens
from app.auth.sql import TOUCH_TOKEN
from app.db.database import Database
from app.errors import N_, Unavailable
from app.http.services import services_of
from tests.support.api_client import ApiClient
from tests.support.console_client import send
from tests.support.engines import engine_of
from tests.support.secured_app import PASSWORD, SecuredApp


@contextmanager
def counted(app: Flask) -> Iterator[list[str]]:
    """The SQL statements that are executed inside, by SQLAlchemy and prepared."""
    engine, found = engine_of(app), []
    ask = Database.execute

    def asking(database: Database, sql: str, *given: Any, **options: Any) -> Any:
        found.append(sql)
        return ask(database, sql, *given, **options)

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:  # noqa: ARG001 - SQLAlchemy gives them
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "execute", asking)
            yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture(params=["cached", "not cached"])
def warm(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Use a token before a change, so it is cached; or do not use it."""

    def use(client: ApiClient) -> ApiClient:
        if request.param == "cached":
            assert client.get("/session").status_code == 200
            assert client.get("/session").status_code == 200
        return client

    return use


def test_the_page_of_tokens_reads_the_list_once(app: Flask, admin: FlaskClient) -> None:
    for name in ("first", "second"):
        with counted(app) as statements:
            response = send(admin, "/api-tokens", name=name, role="viewer", days="90")
        assert response.status_code == 201
        assert len([statement for statement in statements if "ORDER BY tokens" in statement]) == 1
        assert f"<strong>{name}</strong>" in response.text
    with counted(app) as statements:
        page = admin.get("/api-tokens").text
    assert len([statement for statement in statements if "ORDER BY tokens" in statement]) == 1
    assert re.findall(r"<strong>(first|second)</strong>", page) == ["second", "first"]


def test_a_damaged_token_is_refused_without_a_look_up(secured_app: SecuredApp) -> None:
    secret = secured_app.token(secured_app.create_user())["token"]
    assert secured_app.bearer_client(secret).get("/me").status_code == 200
    body = secret[4:]
    damaged = [
        secret[:-1],
        secret[1:],
        f"{secret}x",
        f"fsa_{body[::-1]}",
        secret[:10] + ("a" if secret[10] != "a" else "b") + secret[11:],
        secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        secret[:5] + secret[6] + secret[5] + secret[7:] if secret[5] != secret[6] else secret[:-2],
        secret.swapcase(),
        secret.upper(),
        f"FSA_{body}",
        f"fsb_{body}",
        body,
        "fsa_",
        "",
        "null",
        "x" * 10_000,
        "fsa_" + "0" * 10_000,
        "fsa_" + "é" * 49,
        f"{secret} {secret}",
        f'"{secret}"',
        "fsa_" + "\xff" * 49,
        f"fsa_\x00{body[1:]}",
    ]
    with counted(secured_app.app) as statements:
        for text in damaged:
            header = text.encode("latin-1", "replace").decode("latin-1").replace("\x00", "%00")
            response = secured_app.bearer_client(header).get("/me")
            assert response.status_code == 401, text
            assert response.headers["WWW-Authenticate"] == "Bearer"
    assert statements == []


def test_a_whole_token_that_was_never_made_is_refused(secured_app: SecuredApp) -> None:
    assert secured_app.bearer_client(tokens.create_secret()).get("/me").status_code == 401


@pytest.mark.parametrize(
    "header",
    ["Basic YWRhOnB3", "Digest x", "Token {}", "Bearer", "Bearer ", "{}", "Bearer: {}", "Bearer,{}", "é", ""],
)
def test_any_other_authorization_is_refused(secured_app: SecuredApp, header: str) -> None:
    secret = secured_app.token(secured_app.create_user())["token"]
    response = secured_app.anonymous.get("/me", headers={"Authorization": header.format(secret)})
    assert response.status_code == 401


@pytest.mark.parametrize("header", ["bearer {}", "BEARER {}", "Bearer   {}"])
def test_a_scheme_is_the_same_in_any_case(secured_app: SecuredApp, header: str) -> None:
    secret = secured_app.token(secured_app.create_user())["token"]
    assert secured_app.anonymous.get("/me", headers={"Authorization": header.format(secret)}).status_code == 200


def test_a_revoked_token_is_refused_from_the_next_request(
    secured_app: SecuredApp, warm: Callable[..., ApiClient]
) -> None:
    user = secured_app.create_user()
    token = secured_app.token(user)
    program, other = warm(secured_app.bearer_client(token["token"])), secured_app.token_client(user)
    assert secured_app.admin.delete(f"/tokens/{token['id']}").status_code == 204
    assert program.get("/me").status_code == 401
    assert other.get("/me").status_code == 200
    assert secured_app.admin.delete(f"/tokens/{token['id']}").status_code == 404


def test_an_expired_token_is_refused_even_when_the_cache_knows_it(
    secured_app: SecuredApp, warm: Callable[..., ApiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    program = warm(
        secured_app.token_client(secured_app.create_user(), expires_at=soon.isoformat().replace("+00:00", "Z"))
    )
    assert program.get("/me").status_code == 200

    class Clock:
        time = staticmethod((soon + timedelta(seconds=1)).timestamp)
        monotonic = staticmethod(tokens.time.monotonic)

    monkeypatch.setattr(tokens, "time", Clock)
    assert program.get("/me").status_code == 401


@pytest.mark.parametrize("how", ["deactivated", "deleted", "purged"])
def test_a_token_ends_with_its_user_and_does_not_come_back(
    secured_app: SecuredApp, warm: Callable[..., ApiClient], how: str
) -> None:
    user = secured_app.create_user()
    path, program = f"/users/{user['id']}", warm(secured_app.token_client(user))
    if how == "deactivated":
        secured_app.admin.patch(path, {"active": False})
    else:
        secured_app.admin.delete(path if how == "deleted" else f"{path}?purge=true")
    assert program.get("/me").status_code == 401
    if how == "deactivated":
        secured_app.admin.patch(path, {"active": True})
    elif how == "deleted":
        assert secured_app.admin.post(f"{path}/restore").status_code == 200
    else:
        assert secured_app.admin.put(path, {"username": user["username"]}).status_code == 201
    assert program.get("/me").status_code == 401
    assert [token for token in secured_app.admin.get("/tokens").json if token["user_id"] == user["id"]] == []


def test_the_role_of_a_token_is_limited_by_its_user_and_by_itself(
    secured_app: SecuredApp, warm: Callable[..., ApiClient]
) -> None:
    user = secured_app.create_user("editor")
    path, program = f"/users/{user['id']}", warm(secured_app.token_client(user, "viewer"))
    for role, may_list in (("member", 403), ("admin", 200), ("member", 403), ("viewer", 200)):
        secured_app.admin.patch(path, {"role": role})
        assert program.get("/users").status_code == may_list
        assert program.get("/tokens").status_code == 403


def test_a_token_of_a_lower_role_does_not_act_as_its_user(secured_app: SecuredApp) -> None:
    user = secured_app.create_user("editor")
    program, path = secured_app.token_client(user, "member"), f"/users/{user['id']}"
    for method, address, body in [
        ("GET", "/me", None),
        ("PATCH", "/me", {"name": "New"}),
        ("PUT", "/me/password", {"current_password": "x", "new_password": "another horse battery"}),
        ("GET", "/me/sessions", None),
        ("DELETE", "/me/sessions", None),
        ("GET", path, None),
        ("PATCH", path, {"password": "another horse battery"}),
        ("GET", f"{path}/sessions", None),
        ("DELETE", f"{path}/sessions", None),
    ]:
        assert program(method, address, json=body).status_code == 403, (method, address)
    assert program.get("/session").json["role"] == "member"
    whole = secured_app.token_client(user)
    assert whole.get("/me").status_code == 200
    secured_app.admin.patch(path, {"role": "member"})
    assert program.get("/me").status_code == 200


def test_a_token_of_a_lower_role_learns_nothing_of_its_user(secured_app: SecuredApp) -> None:
    """GET /api/session gave the record that /api/me refuses."""
    user = secured_app.create_user(
        "admin", name="Grace Hopper", email="grace@example.org", attributes={"secret": "moths"}
    )
    for role in ("member", "viewer", "editor"):
        program = secured_app.token_client(user, role)
        assert program.get("/me").status_code == 403
        shown = program.get("/session")
        assert (shown.json["kind"], shown.json["role"], shown.json["user"]) == ("token", role, None)
        assert not any(word in shown.text for word in ("Grace", "grace@", "moths", user["id"]))
        page = program.flask_client.get("/", headers={**program.headers, "Accept": "text/html"})
        assert "Grace" not in page.text
    assert secured_app.token_client(user).get("/session").json["user"] == secured_app.token_client(user).get("/me").json


def test_last_use_is_written_at_most_once_a_minute(
    secured_app: SecuredApp, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = secured_app.token(secured_app.create_user())
    program = secured_app.bearer_client(token["token"])

    def last_used() -> Any:
        return database.execute("SELECT last_used_at FROM tokens WHERE id = %s", [token["id"]]).fetchone()[0]

    assert last_used() is None
    with counted(secured_app.app) as statements:
        for _ in range(20):
            program.get("/me")
    assert len([statement for statement in statements if statement.startswith("UPDATE tokens")]) == 1
    first = last_used()
    assert first is not None
    # Another process, which has noted nothing yet, does not write within the minute either.
    services_of(secured_app.app).tokens.touch_due_s.clear()
    program.get("/me")
    assert last_used() == first
    database.execute("UPDATE tokens SET last_used_at = now() - interval '61 seconds'")
    later = tokens.time.monotonic() + 61

    class Clock:
        time = staticmethod(tokens.time.time)
        monotonic = staticmethod(lambda: later)

    monkeypatch.setattr(tokens, "time", Clock)
    program.get("/me")
    assert last_used() > first


def test_a_request_succeeds_when_the_token_use_cannot_be_recorded(
    secured_app: SecuredApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = secured_app.token_client(secured_app.create_user())

    execute, refused = Database.execute, []

    def away(database: Database, statement: str, *values: object, **options: Any) -> Any:
        if statement is TOUCH_TOKEN:
            refused.append(values)
            raise Unavailable(N_("The database is unavailable. Try again shortly."))
        return execute(database, statement, *values, **options)

    monkeypatch.setattr(Database, "execute", away)
    assert program.get("/me").status_code == 200
    assert len(refused) == 1


def test_a_password_change_leaves_tokens(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    program = secured_app.token_client(user)
    secured_app.admin.patch(f"/users/{user['id']}", {"password": PASSWORD})
    assert program.get("/me").status_code == 200
