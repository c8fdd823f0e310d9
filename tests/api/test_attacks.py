"""Attempts to gain access or to deny access to other users."""

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
from app.auth.sessions import Sessions
from app.config import load_settings
from app.db.migrate import wait_for_database
from app.errors import SettingsError
from app.search import cursors
from tests.support.api_client import ApiClient
from tests.support.asgi import request
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient
from tests.support.service_process import Service


def late(client: ApiClient, method: str, path: str, body: Any, first: Callable[[], object]) -> Response:
    """A request that is under way while `first` is done: its body comes afterwards."""
    headers = {**getattr(client, "headers", {}), "Content-Type": "application/json"}
    return request(client.app, method, f"{client.base}{path}", headers, first, json.dumps(body).encode())


def test_a_user_demoted_during_the_upload_cannot_revert_it(secured_app: SecuredApp) -> None:
    bob = secured_app.create_user("admin", username="bob", password=PASSWORD)
    for client in (secured_app.session_client(bob), secured_app.token_client(bob)):
        secured_app.admin.patch(f"/users/{bob['id']}", {"role": "admin"})
        response = late(
            client,
            "PATCH",
            f"/users/{bob['id']}",
            {"role": "admin"},
            lambda: secured_app.admin.patch(f"/users/{bob['id']}", {"role": "member"}),
        )
        assert response.status_code == 403, response.text
        assert secured_app.admin.get(f"/users/{bob['id']}").json["role"] == "member"


def test_a_user_demoted_during_the_upload_of_a_form_changes_no_user(secured_app: SecuredApp) -> None:
    bob, ada = secured_app.create_user("admin", username="bob"), secured_app.create_user("viewer", username="ada")
    form = b"name=Ada&has_role=1&role=admin&version=1"
    response = request(
        secured_app.app,
        "POST",
        f"/people/{ada['id']}",
        {**secured_app.session_client(bob).headers, "Content-Type": "application/x-www-form-urlencoded"},
        lambda: secured_app.admin.patch(f"/users/{bob['id']}", {"role": "member"}),
        form,
    )
    assert response.status_code == 403
    assert secured_app.admin.get(f"/users/{ada['id']}").json["role"] == "viewer"


def test_a_session_that_ended_during_the_upload_sets_no_password(secured_app: SecuredApp) -> None:
    vic = secured_app.create_user(username="vic", password=PASSWORD)
    thief = secured_app.session_client(vic)
    new = {"password": "the password of the victim"}
    response = late(
        thief,
        "PATCH",
        "/me",
        {"password": "the password of the thief"},
        lambda: secured_app.admin.patch(f"/users/{vic['id']}", new),
    )
    assert response.status_code == 401
    assert secured_app.sign_in({"username": "vic", **new}).status_code == 201


def test_a_request_begun_in_setup_mode_creates_no_user_after_setup(api: ApiClient) -> None:
    root = {"username": "root", "role": "admin", "password": PASSWORD}
    ghost = {"username": "ghost", "role": "admin", "password": PASSWORD}
    found: list[int] = []
    other = ApiClient(api.app)
    response = late(api, "POST", "/users", ghost, lambda: found.append(other.post("/users", root).status_code))
    assert (found, response.status_code) == ([201], 401)


def test_a_change_of_role_during_an_upload_does_not_end_the_session(secured_app: SecuredApp) -> None:
    bob = secured_app.create_user("viewer", username="bob")
    client: UserClient = secured_app.session_client(bob)
    secured_app.admin.patch(f"/users/{bob['id']}", {"role": "editor"})
    response = client.patch("/me", {"name": "Bob"})
    assert response.status_code == 200
    assert "fsa_session=;" not in response.headers["Set-Cookie"]


def test_a_stale_check_for_administrators_does_not_restore_setup_mode(api: ApiClient, monkeypatch: Any) -> None:
    app = api.app
    look, other = Admins.has_admin, ApiClient(app)

    def slow(admins: Admins) -> bool:
        monkeypatch.setattr(Admins, "has_admin", look)
        found = look(admins)
        other.create_user(username="root", role="admin", password=PASSWORD)
        return found

    monkeypatch.setattr(Admins, "has_admin", slow)
    api.get("/users")
    assert api.get("/users").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "/\t/evil.example", "/\n\\evil.example"])
def test_sign_in_redirects_to_no_other_site(secured_app: SecuredApp, target: str) -> None:
    secured_app.create_user(username="vic", password=PASSWORD)
    form = {"username": "vic", "password": PASSWORD, "next": target}
    response = secured_app.anonymous.flask_client.post("/sign-in", data=form)
    assert (response.status_code, response.headers["Location"]) == (303, "/")


@pytest.mark.parametrize("path", ["/api/session", "/sign-in"])
def test_endless_bodies_leave_threads_for_other_requests(serve: Callable[..., Service], path: str) -> None:
    service = serve(WORKERS="1", THREADS="8")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n%s"
    kind = ("application/json", "{") if path == "/api/session" else ("application/x-www-form-urlencoded", "a")
    with ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            connection.sendall((head % kind).encode())
        time.sleep(0.5)
        assert service.get("/api/health", timeout=5).status == 200


def test_the_own_record_is_not_stored_by_browsers(secured_app: SecuredApp) -> None:
    """The address is the same for all, and so is the ETag of all records that are as often changed."""
    ada, bob = (secured_app.session_client(secured_app.create_user(username=name)) for name in ("ada", "bob"))
    response = ada.get("/me")
    assert response.headers["ETag"] == bob.get("/me").headers["ETag"]
    assert response.headers["Cache-Control"] == "no-store"


def test_an_ipv6_network_cannot_lock_an_account(secured_app: SecuredApp) -> None:
    """A client with one IPv6 address usually has 2^64 of them."""
    secured_app.create_user(username="vic", password=PASSWORD)
    wrong = {"username": "vic", "password": "not the password"}
    tried = [secured_app.sign_in(wrong, f"2001:db8::{number:x}").status_code for number in range(8)]
    assert tried == [401] * 5 + [429] * 3
    for elsewhere in ("2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.2"):
        assert secured_app.sign_in({"username": "vic", "password": PASSWORD}, elsewhere).status_code == 201
    secured_app.admin.post(f"/users/{secured_app.admin.get('/users?username=vic').json[0]['id']}/unlock")
    assert secured_app.sign_in({"username": "vic", "password": PASSWORD}, "2001:db8::ffff").status_code == 201


def test_knowing_the_old_password_does_not_overwrite_a_reset(secured_app: SecuredApp, monkeypatch: Any) -> None:
    """Trying again and again, they would be between the check and the change when it happens."""
    vic, hashed = secured_app.create_user(username="vic", password=PASSWORD), passwords.hash_password
    thief = secured_app.session_client(vic)
    reset = {"password": "the password of the victim"}

    def slow(password: str | None) -> str | None:
        monkeypatch.setattr(passwords, "hash_password", hashed)
        secured_app.admin.patch(f"/users/{vic['id']}", reset)
        return hashed(password)

    monkeypatch.setattr(passwords, "hash_password", slow)
    body = {"current_password": PASSWORD, "new_password": "the password of the thief"}
    assert thief.put("/me/password", body).status_code == 412
    assert secured_app.sign_in({"username": "vic", **reset}).status_code == 201


def test_a_sign_in_during_a_purge_stores_no_address(secured_app: SecuredApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was 404, and the history of the purged user had the address of the sign-in. Found by tests/attack."""
    vic, create = secured_app.create_user(username="vic", password=PASSWORD), Sessions.create

    def slow(sessions: Sessions, *given: Any, **options: Any) -> Any:
        monkeypatch.setattr(Sessions, "create", create)
        assert secured_app.admin.delete(f"/users/{vic['id']}?purge=true").status_code == 204
        return create(sessions, *given, **options)

    monkeypatch.setattr(Sessions, "create", slow)
    assert secured_app.sign_in({"username": "vic", "password": PASSWORD}).status_code == 401
    entries = secured_app.admin.get(f"/users/{vic['id']}/history").json
    assert [(entry["action"], entry["address"]) for entry in entries] == [("purged", "127.0.0.1"), ("created", None)]


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
        [True, "ID", False, False],
    ],
)
def test_a_cursor_that_the_service_did_not_create_is_refused(secured_app: SecuredApp, payload: Any) -> None:
    """A client can compute the checksum of a cursor."""
    made = orjson.dumps(
        [secured_app.admin.id if part == "ID" else part for part in payload] if payload != 7 else payload
    )
    for kind, path in (
        ("users:created_at:live", "/users"),
        ("users:name:live", "/users?sort=name"),
        (f"history:{secured_app.admin.id}", f"/users/{secured_app.admin.id}/history"),
    ):
        cursor = cursors.with_checksum(kind, made)
        response = secured_app.admin.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}")
        assert response.status_code in (200, 400)


def test_an_invalid_database_url_is_not_logged() -> None:
    """The invalid part may belong to the password, when it has an unescaped %."""
    url = "postgresql://somebody:s3cret%zz@127.0.0.1:1/usersdb"
    with pytest.raises(SettingsError, match="DATABASE_URL") as refused:
        wait_for_database(load_settings({}, database_url=url))
    assert "s3cret" not in str(refused.value)


def test_a_deactivation_on_a_host_without_redis_refuses_writes_elsewhere(
    secured_app: SecuredApp, make_app: Callable[..., Flask]
) -> None:
    """The other host deactivates the user but cannot reach the cache."""
    lonely = make_app(redis_url="redis://127.0.0.1:1/0")
    bob = secured_app.create_user("editor", username="bob")
    program, browser = secured_app.token_client(bob), secured_app.session_client(bob)
    assert {program.get("/users").status_code, browser.get("/users").status_code} == {200}
    admin = UserClient(lonely, secured_app.token_client(secured_app.admin.user).headers, {})
    assert admin.patch(f"/users/{bob['id']}", {"active": False}).status_code == 200
    assert {client.post("/users", {"username": "new"}).status_code for client in (program, browser)} == {401}
