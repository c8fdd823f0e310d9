"""Sign-in: it does not reveal users, session ids change, and cookies are bound to this service."""

# ruff: noqa: RUF001 - digits of other scripts

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from app.auth import login, passwords
from app.http.auth import COOKIE
from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.secured_app import PASSWORD, SAME_ORIGIN, SecuredApp, UserClient, cookie_of

NEW = "another horse battery"
ADA = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}


# But for the one test that is about the wait.
pytestmark = pytest.mark.usefixtures("without_refusal_delay")


def flags(response: Any) -> dict[str, str]:
    """The attributes of the cookie that an answer sets."""
    (line,) = response.headers.getlist("Set-Cookie")
    parts = (part.strip().partition("=") for part in line.split(";")[1:])
    return {name: value for name, _, value in parts if name != "Expires"}


# Who is there


@pytest.mark.parametrize(
    "login", [{"username": "ada"}, {"username": "ADA"}, {"username": "Ada@Example.org"}, {"email": "ADA@EXAMPLE.ORG"}]
)
def test_username_and_email_let_in_in_any_case(secured_app: SecuredApp, login: dict[str, str]) -> None:
    user = secured_app.create_user(**ADA)
    response = secured_app.sign_in({**login, "password": PASSWORD})
    assert response.status_code == 201
    shown = response.json
    assert (shown["kind"], shown["role"], shown["user"]) == ("session", "member", user)
    assert response.headers["Cache-Control"] == "no-store"
    client = secured_app.cookie_client(cookie_of(response), user)
    assert client.get("/session").json["session"]["id"] == shown["session"]["id"]


def test_an_email_is_not_hidden_by_a_username_that_looks_like_it(secured_app: SecuredApp) -> None:
    ada = secured_app.create_user(**{**ADA, "username": "ada"})
    hiding = {"username": "ada@example.org", "email": "eve@example.org", "password": NEW}
    assert secured_app.admin.post("/users", hiding).status_code == 409
    for field in ("username", "email"):
        assert secured_app.sign_in({field: "ada@example.org", "password": PASSWORD}).json["user"]["id"] == ada["id"]
        assert secured_app.sign_in({field: "ada@example.org", "password": NEW}).status_code == 401


def test_a_refused_sign_in_is_the_same_for_known_and_unknown_users(
    secured_app: SecuredApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    secured_app.create_user(**ADA)
    secured_app.create_user(username="asleep", password=PASSWORD, active=False)
    secured_app.create_user(username="speechless")
    gone = secured_app.create_user(username="gone", password=PASSWORD)
    secured_app.admin.delete(f"/users/{gone['id']}")
    verified, waited = [], []

    verify = passwords.pwhash.verify

    def noted(kept: bytes, offered: bytes) -> bool:
        verified.append(passwords.is_outdated(kept.decode()))
        return verify(kept, offered)

    class Clock:
        time, monotonic, sleep = login.time.time, staticmethod(lambda: 7.0), staticmethod(waited.append)

    monkeypatch.setattr(passwords.pwhash, "verify", noted)
    monkeypatch.setattr(login, "REFUSAL_S", 0.15)
    monkeypatch.setattr(login, "time", Clock)
    refused = [
        secured_app.sign_in({"username": username, "password": password})
        for username, password in [
            ("nobody", PASSWORD),
            ("ada", NEW),
            ("ada", ""),
            ("asleep", PASSWORD),
            ("asleep", NEW),
            ("speechless", PASSWORD),
            ("speechless", ""),
            ("gone", PASSWORD),
        ]
    ]
    assert [response.status_code for response in refused] == [401] * 8
    bodies = [{**response.json, "instance": ""} for response in refused]
    assert all(body == bodies[0] for body in bodies)
    names = [sorted(name for name, _ in response.headers if name != "X-Request-ID") for response in refused]
    assert all(name == names[0] for name in names)
    assert verified == [False] * 8, "one hashing each, with today's parameters"
    assert waited == [pytest.approx(0.15)] * 8


def test_the_password_of_an_unknown_user_is_compared_with_a_hash_of_todays_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def noted(kept: bytes, offered: bytes) -> bool:
        compared.append(kept.decode())
        return verify(kept, offered)

    verify = passwords.pwhash.verify
    monkeypatch.setattr(passwords.pwhash, "verify", noted)
    assert passwords.verify(PASSWORD, None) is False
    assert [passwords.is_outdated(kept) for kept in compared] == [False]


@pytest.mark.parametrize("username", ["ada\0", "ada\0x", "ada@example.org\0", "\0"])
def test_a_username_with_u0000_signs_no_user_in(secured_app: SecuredApp, username: str) -> None:
    """Else guesses would be counted for one name and tried on another."""
    secured_app.create_user(**ADA)
    assert secured_app.sign_in({"username": username, "password": PASSWORD}).status_code == 400
    response = secured_app.anonymous.flask_client.post("/sign-in", data={"username": username, "password": PASSWORD})
    assert response.status_code == 401
    assert "Set-Cookie" not in response.headers


# What it costs, and what it leaves behind


def test_signing_in_takes_two_round_trips_to_redis(secured_app: SecuredApp, commands: list[str]) -> None:
    """All limits, and then the session with what it forgives."""
    secured_app.create_user(**ADA)
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201
    commands.clear()
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201
    assert commands == ["EVAL", "EVAL"]


def test_history_tells_of_each_attempt_from_where_it_was_made(secured_app: SecuredApp) -> None:
    ada = secured_app.create_user(**ADA)
    for password, status in [(NEW, 401), *[(PASSWORD, 201)] * 2, *[(NEW, 401)] * 5, *[(NEW, 429)] * 2]:
        body = {"email": ADA["email"], "password": password}
        assert secured_app.sign_in(body, "198.51.100.7", **{"User-Agent": "Browser/2"}).status_code == status
    entries = secured_app.admin.get(f"/users/{ada['id']}/history").json
    failed = ["sign_in_failed"]
    assert [entry["action"] for entry in entries] == [
        "sign_in_locked", *5 * failed, *["signed_in"] * 2, *failed, "created"
    ]  # fmt: skip
    assert {(entry["address"], entry["agent"], entry["version"]) for entry in entries[:-1]} == {
        ("198.51.100.7", "Browser/2", ada["version"])
    }
    assert {entry["actor"] for entry in entries if entry["action"] == "signed_in"} == {f"user:{ada['id']}"}
    assert all(entry["changes"] == [] and entry["request_id"] for entry in entries[:-1])


# Ids and cookies


def test_a_planted_session_id_is_never_accepted(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(**ADA)
    planted = "A" * 43 + "." + uuid.UUID(user["id"]).hex
    response = secured_app.sign_in(
        {"username": "ada", "password": PASSWORD}, Cookie=f"{COOKIE}={planted}", **SAME_ORIGIN
    )
    assert response.status_code == 201
    assert cookie_of(response) != planted
    assert secured_app.cookie_client(planted).get("/me").status_code == 401


def test_signing_in_again_gives_a_new_id_and_ends_the_old_one(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(**ADA)
    first = cookie_of(secured_app.sign_in({"username": "ada", "password": PASSWORD}))
    second = secured_app.sign_in({"username": "ada", "password": PASSWORD}, Cookie=f"{COOKIE}={first}", **SAME_ORIGIN)
    assert cookie_of(second) != first
    assert secured_app.cookie_client(first).get("/me").status_code == 401
    assert len(secured_app.cookie_client(cookie_of(second), user).get("/me/sessions").json) == 1


def test_a_change_of_role_gives_a_new_id_and_ends_the_old_one(secured_app: SecuredApp, servers: Stack) -> None:
    user = secured_app.create_user(**ADA)
    old = cookie_of(secured_app.sign_in({"username": "ada", "password": PASSWORD}))
    assert secured_app.cookie_client(old).get("/users").status_code == 403
    secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    response = secured_app.cookie_client(old).get("/users")
    assert response.status_code == 200
    new = cookie_of(response)
    assert new != old
    # Requests that were sent with the old one are answered for a minute.
    with redis.Redis.from_url(servers.redis.url) as client:
        client.delete(*client.keys("fsa:session-next:*"))
    assert secured_app.cookie_client(old).delete("/session").status_code == 401
    response = secured_app.cookie_client(new).get("/users")
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers


def test_ids_are_random_and_long(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    secrets = {secured_app.session_cookie(user).partition(".")[0] for _ in range(50)}
    assert len(secrets) == 50
    assert {len(secret) for secret in secrets} == {43}


def test_a_cookie_is_for_this_service_and_no_script(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    response = secured_app.sign_in({"username": "ada", "password": PASSWORD})
    assert flags(response) == {"HttpOnly": "", "SameSite": "Lax", "Path": "/", "Max-Age": str(14 * 86400)}
    assert PASSWORD not in response.text
    assert cookie_of(response).partition(".")[0] not in response.text


@pytest.mark.parametrize(
    ("trusted", "headers", "scheme", "is_secure"),
    [
        ("", {}, "http", False),
        ("", {}, "https", True),
        ("", {"X-Forwarded-Proto": "https"}, "http", False),
        ("127.0.0.1", {"X-Forwarded-Proto": "https"}, "http", True),
        ("127.0.0.1", {"X-Forwarded-Proto": "http"}, "https", False),
        ("10.0.0.0/8", {"X-Forwarded-Proto": "https"}, "http", False),
    ],
)
def test_a_cookie_is_secure_under_https(
    make_app: Callable[..., Flask],
    secured_app: SecuredApp,
    trusted: str,
    headers: dict[str, str],
    scheme: str,
    is_secure: bool,
) -> None:
    secured_app.create_user(**ADA)
    client = make_app(trusted_proxies=trusted).test_client()
    body, base = {"username": "ada", "password": PASSWORD}, f"{scheme}://localhost"
    response = client.post("/api/session", json=body, headers=headers, base_url=base)
    assert response.status_code == 201
    assert ("Secure" in flags(response)) is is_secure


def test_signing_out_ends_the_session_and_the_cookie(secured_app: SecuredApp) -> None:
    client = secured_app.session_client(secured_app.create_user())
    response = client.delete("/session")
    assert response.status_code == 204
    assert cookie_of(response) == ""
    assert flags(response) == {"HttpOnly": "", "SameSite": "Lax", "Path": "/", "Max-Age": "0"}
    assert client.get("/session").status_code == 401


def test_a_browser_signs_in_stays_so_and_signs_out(secured_app: SecuredApp) -> None:
    secured_app.create_user(**ADA)
    browser = secured_app.app.test_client()
    assert browser.post("/api/session", json={"username": "ada", "password": PASSWORD}).status_code == 201
    assert browser.get("/api/me").json["username"] == "ada"
    assert browser.get("/me").json["username"] == "ada", "also at the root"
    assert browser.delete("/api/session", headers=SAME_ORIGIN).status_code == 204
    assert browser.get_cookie(COOKIE) is None


SECRET = "A" * 43
FORGED = [
    "",
    "x",
    SECRET,
    f"{SECRET}.",
    f"{SECRET}.{'0' * 32}",
    f"{SECRET[1:]}.{'0' * 32}",
    f"{SECRET}.{'0' * 31}",
    f"{SECRET}.{'G' * 32}",
    f"{SECRET}.{'0' * 32}.",
    f"{SECRET}A.{'0' * 32}",
    "A" * 50_000,
    "é" * 43,
    "\xff\xfe",
    f"{'é' * 43}.{'0' * 32}",
    f"{SECRET}.{'٠' * 32}".encode().decode("latin-1"),
    '"quoted"',
    '"\\000"',
    "*",
    "%00",
    "../../x",
    "{}",
    "null",
]


@pytest.mark.parametrize("cookie", FORGED, ids=range(len(FORGED)))
def test_a_forged_cookie_is_refused_and_dropped(secured_app: SecuredApp, cookie: str) -> None:
    response = secured_app.cookie_client(cookie).get("/me")
    assert response.status_code == 401
    assert cookie_of(response) == ""


def test_a_cookie_that_was_cut_changed_or_given_to_another_is_refused(secured_app: SecuredApp) -> None:
    user, other = secured_app.create_user(), secured_app.create_user("admin")
    good = secured_app.session_cookie(user)
    secret, _, owner = good.partition(".")
    for cookie in (
        good[:-1],
        good[1:],
        secret[:-2] + ("AA" if secret[-2:] != "AA" else "BB") + "." + owner,
        good.swapcase(),
        f"{secret}.{uuid.UUID(other['id']).hex}",
        f"{secret}.{uuid.uuid4().hex}",
        f"{good}{good}",
    ):
        assert secured_app.cookie_client(cookie).get("/me").status_code == 401, cookie
    assert secured_app.cookie_client(good).get("/me").status_code == 200


def test_two_credentials_at_once_are_refused(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    cookie, token = secured_app.session_client(user).headers, secured_app.token_client(user).headers
    for headers in (
        {**cookie, **token},
        {**cookie, "Authorization": "Bearer nonsense"},
        {**token, "Cookie": f"{COOKIE}=nonsense"},
        {**token, "Cookie": f"{COOKIE}="},
    ):
        response = secured_app.anonymous.get("/me", headers=headers)
        assert response.status_code == 401
        assert "two credentials" in response.json["detail"]
    # Other cookies are none of ours.
    assert secured_app.anonymous.get("/me", headers={**token, "Cookie": "theme=dark"}).status_code == 200


# Other sites' pages


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "http://localhost@evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Referer": "http://localhost/"}, 403),
    ],
)
def test_a_change_with_a_cookie_must_come_from_a_page_of_ours(
    secured_app: SecuredApp, headers: dict[str, str], status: int
) -> None:
    user = secured_app.create_user()
    client = secured_app.session_client(user)
    del client.headers["Origin"]
    assert client.patch("/me", {"name": "New"}, headers=headers).status_code == status
    assert client.get("/me", headers=headers).json["name"] == ("New" if status == 200 else user["name"])


def test_every_unsafe_method_with_a_cookie_needs_an_origin(secured_app: SecuredApp) -> None:
    client = secured_app.session_client(secured_app.admin.user)
    del client.headers["Origin"]
    other = secured_app.create_user()
    path = f"/users/{other['id']}"
    for method, address in [
        ("POST", "/users"),
        ("PUT", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", "/tokens"),
        ("DELETE", "/session"),
        ("DELETE", "/me/sessions"),
        ("PUT", "/me/password"),
    ]:
        assert client(method, address, json={}).status_code == 403, (method, address)
    assert client.get(path).json == other


def test_a_token_needs_no_origin_and_works_from_any(secured_app: SecuredApp) -> None:
    program = secured_app.token_client(secured_app.create_user())
    assert program.patch("/me", {"name": "New"}).status_code == 200
    assert program.patch("/me", {"name": "Newer"}, headers={"Origin": "http://app.example"}).status_code == 200


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_site_cannot_sign_a_user_in(secured_app: SecuredApp, headers: dict[str, str]) -> None:
    """Else it could make somebody use its own account unawares."""
    secured_app.create_user(**ADA)
    response = secured_app.sign_in({"username": "ada", "password": PASSWORD}, **headers)
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers


def test_form_content_types_cannot_sign_a_user_in(secured_app: SecuredApp) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        response = secured_app.anonymous.post("/session", json.dumps(ADA).encode(), content_type=kind)
        assert response.status_code == 415


def test_a_bad_cookie_is_dropped_and_no_more_while_the_service_is_open(app: Flask, api: ApiClient) -> None:
    visitor = UserClient(app, {"Cookie": f"{COOKIE}=nonsense"}, {})
    for response in (visitor.get("/users"), visitor.post("/users", {"username": "new"})):
        assert response.status_code in (200, 201)
        assert cookie_of(response) == ""
    assert len(api.list_users()) == 1
