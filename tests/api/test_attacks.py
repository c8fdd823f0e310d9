"""What somebody would try who wants in, or wants others out."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import orjson
import pytest
from flask import Flask
from werkzeug.wrappers import Response

from app.auth import passwords
from app.auth.admins import Admins
from app.config import load_settings
from app.db.migrate import wait_for_database
from app.errors import SettingsError
from app.search import cursors
from tests.support.api_client import ApiClient
from tests.support.asgi import ask
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient
from tests.support.service_process import Service


def late(who: ApiClient, method: str, path: str, body: Any, first: Callable[[], object]) -> Response:
    """A request that is under way while `first` is done: its body comes afterwards."""
    headers = {**getattr(who, "headers", {}), "Content-Type": "application/json"}
    return ask(who.app, method, f"{who.base}{path}", headers, first, json.dumps(body).encode())


def test_who_was_demoted_while_the_body_was_on_its_way_can_not_undo_it(house: SecuredApp) -> None:
    bob = house.make("admin", username="bob", password=PASSWORD)
    for who in (house.by_session(bob), house.by_token(bob)):
        house.admin.patch(f"/users/{bob['id']}", {"role": "admin"})
        answer = late(
            who,
            "PATCH",
            f"/users/{bob['id']}",
            {"role": "admin"},
            lambda: house.admin.patch(f"/users/{bob['id']}", {"role": "member"}),
        )
        assert answer.status_code == 403, answer.text
        assert house.admin.get(f"/users/{bob['id']}").json["role"] == "member"


def test_a_form_that_was_on_its_way_changes_nothing_either(house: SecuredApp) -> None:
    bob, ada = house.make("admin", username="bob"), house.make("viewer", username="ada")
    form = b"name=Ada&has_role=1&role=admin&version=1"
    answer = ask(
        house.app,
        "POST",
        f"/people/{ada['id']}",
        {**house.by_session(bob).headers, "Content-Type": "application/x-www-form-urlencoded"},
        lambda: house.admin.patch(f"/users/{bob['id']}", {"role": "member"}),
        form,
    )
    assert answer.status_code == 403
    assert house.admin.get(f"/users/{ada['id']}").json["role"] == "viewer"


def test_a_session_that_ended_while_the_body_was_on_its_way_sets_no_password(house: SecuredApp) -> None:
    vic = house.make(username="vic", password=PASSWORD)
    thief = house.by_session(vic)
    new = {"password": "the password of the victim"}
    answer = late(
        thief,
        "PATCH",
        "/me",
        {"password": "the password of the thief"},
        lambda: house.admin.patch(f"/users/{vic['id']}", new),
    )
    assert answer.status_code == 401
    assert house.sign_in({"username": "vic", **new}).status_code == 201


def test_who_began_while_the_service_was_open_makes_nobody_after_it_was_closed(api: ApiClient) -> None:
    root = {"username": "root", "role": "admin", "password": PASSWORD}
    ghost = {"username": "ghost", "role": "admin", "password": PASSWORD}
    found: list[int] = []
    other = ApiClient(api.app)
    answer = late(api, "POST", "/users", ghost, lambda: found.append(other.post("/users", root).status_code))
    assert (found, answer.status_code) == ([201], 401)


def test_a_new_role_met_by_a_slow_body_does_not_sign_out(house: SecuredApp) -> None:
    bob = house.make("viewer", username="bob")
    person: UserClient = house.by_session(bob)
    house.admin.patch(f"/users/{bob['id']}", {"role": "editor"})
    answer = person.patch("/me", {"name": "Bob"})
    assert answer.status_code == 200
    assert "fsa_session=;" not in answer.headers["Set-Cookie"]


def test_who_looked_before_there_was_an_administrator_does_not_open_the_door_again(
    api: ApiClient, monkeypatch: Any
) -> None:
    app = api.app
    look, other = Admins.has_admin, ApiClient(app)

    def slow(admins: Admins) -> bool:
        monkeypatch.setattr(Admins, "has_admin", look)
        found = look(admins)
        other.make(username="root", role="admin", password=PASSWORD)
        return found

    monkeypatch.setattr(Admins, "has_admin", slow)
    api.get("/users")
    assert api.get("/users").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "/\t/evil.example", "/\n\\evil.example"])
def test_signing_in_leads_nowhere_else(house: SecuredApp, target: str) -> None:
    house.make(username="vic", password=PASSWORD)
    form = {"username": "vic", "password": PASSWORD, "next": target}
    answer = house.nobody.flask_client.post("/sign-in", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


@pytest.mark.parametrize("path", ["/api/session", "/sign-in"])
def test_bodies_that_never_end_leave_threads_to_others(serve: Callable[..., Service], path: str) -> None:
    service = serve(WORKERS="1", THREADS="8")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n%s"
    kind = ("application/json", "{") if path == "/api/session" else ("application/x-www-form-urlencoded", "a")
    with ExitStack() as held:
        for _ in range(16):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            connection.sendall((head % kind).encode())
        time.sleep(0.5)
        assert service.get("/api/health", timeout=5).status == 200


def test_a_browser_keeps_nothing_of_me_for_who_signs_in_next(house: SecuredApp) -> None:
    """The address is the same for all, and so is the ETag of all records that are as often changed."""
    ada, bob = (house.by_session(house.make(username=name)) for name in ("ada", "bob"))
    answer = ada.get("/me")
    assert answer.headers["ETag"] == bob.get("/me").headers["ETag"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_network_of_ipv6_can_not_lock_an_account_out(house: SecuredApp) -> None:
    """Whoever has one address has 2^64 of them."""
    house.make(username="vic", password=PASSWORD)
    wrong = {"username": "vic", "password": "not the password"}
    tried = [house.sign_in(wrong, f"2001:db8::{number:x}").status_code for number in range(8)]
    assert tried == [401] * 5 + [429] * 3
    for elsewhere in ("2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.2"):
        assert house.sign_in({"username": "vic", "password": PASSWORD}, elsewhere).status_code == 201
    house.admin.post(f"/users/{house.admin.get('/users?username=vic').json[0]['id']}/unlock")
    assert house.sign_in({"username": "vic", "password": PASSWORD}, "2001:db8::ffff").status_code == 201


def test_who_knew_the_old_password_does_not_overwrite_the_reset(house: SecuredApp, monkeypatch: Any) -> None:
    """Trying again and again, they would be between the check and the change when it happens."""
    vic, hashed = house.make(username="vic", password=PASSWORD), passwords.hash_password
    thief = house.by_session(vic)
    reset = {"password": "the password of the victim"}

    def slow(password: str | None) -> str | None:
        monkeypatch.setattr(passwords, "hash_password", hashed)
        house.admin.patch(f"/users/{vic['id']}", reset)
        return hashed(password)

    monkeypatch.setattr(passwords, "hash_password", slow)
    body = {"current_password": PASSWORD, "new_password": "the password of the thief"}
    assert thief.put("/me/password", body).status_code == 412
    assert house.sign_in({"username": "vic", **reset}).status_code == 201


@pytest.mark.parametrize(
    "payload",
    [
        ["x"],
        7,
        {"a": 1},
        ["key", "no id", False, False],
        ["key", "", False, False],
        ["a\0b", "ID", False, False],
        [{"a": 1}, "ID", False, False],
        [2**63, "ID", False, False],
        [None, "ID", False, False],
        ["2026-W01-1", "ID", False, False],
        ["2026-01-01T00:00:00.\u0660+00", "ID", False, False],
        [5, "ID", "x", []],
    ],
)
def test_a_cursor_that_somebody_made_is_refused(house: SecuredApp, payload: Any) -> None:
    """Its check can be computed by anybody."""
    made = orjson.dumps([house.admin.id if part == "ID" else part for part in payload] if payload != 7 else payload)
    for kind, path in (
        ("users:created_at:live", "/users"),
        ("users:name:live", "/users?sort=name"),
        (f"history:{house.admin.id}", f"/users/{house.admin.id}/history"),
    ):
        cursor = cursors.with_checksum(kind, made)
        answer = house.admin.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}")
        assert answer.status_code in (200, 400)


def test_what_can_not_be_read_of_the_url_of_the_database_is_not_logged() -> None:
    """It may be of the password, when a % in it stands for itself."""
    url = "postgresql://somebody:s3cret%zz@127.0.0.1:1/usersdb"
    with pytest.raises(SettingsError, match="DATABASE_URL") as refused:
        wait_for_database(load_settings({}, database_url=url))
    assert "s3cret" not in str(refused.value)


def test_who_was_shut_out_where_redis_was_away_changes_nothing_elsewhere(
    house: SecuredApp, make_app: Callable[..., Flask]
) -> None:
    """Another host, which could not tell the cache."""
    lonely = make_app(redis_url="redis://127.0.0.1:1/0")
    bob = house.make("editor", username="bob")
    program, browser = house.by_token(bob), house.by_session(bob)
    assert {program.get("/users").status_code, browser.get("/users").status_code} == {200}
    admin = UserClient(lonely, house.by_token(house.admin.user).headers, {})
    assert admin.patch(f"/users/{bob['id']}", {"active": False}).status_code == 200
    assert {who.post("/users", {"username": "new"}).status_code for who in (program, browser)} == {401}
