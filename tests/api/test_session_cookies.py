"""Session cookies: ids change at sign-in and with a role, and a cookie is bound to this service."""

# ruff: noqa: RUF001 - digits of other scripts

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from app.http.parsing import SESSION_COOKIE
from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.secured_app import PASSWORD, SAME_ORIGIN, SecuredApp, UserClient, cookie_of

ADA = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}

# The delay of a refused sign-in is tested in test_sign_in.py.
pytestmark = pytest.mark.usefixtures("without_refusal_delay")


def flags(response: Any) -> dict[str, str]:
    """The attributes of the cookie that an answer sets."""
    (line,) = response.headers.getlist("Set-Cookie")
    parts = (part.strip().partition("=") for part in line.split(";")[1:])
    return {name: value for name, _, value in parts if name != "Expires"}


def test_a_planted_session_id_is_never_accepted(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(**ADA)
    planted = "A" * 43 + "." + uuid.UUID(user["id"]).hex
    response = secured_app.sign_in(
        {"username": "ada", "password": PASSWORD}, Cookie=f"{SESSION_COOKIE}={planted}", **SAME_ORIGIN
    )
    assert response.status_code == 201
    assert cookie_of(response) != planted
    assert secured_app.cookie_client(planted).get("/me").status_code == 401


def test_signing_in_again_gives_a_new_id_and_ends_the_old_one(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(**ADA)
    first = cookie_of(secured_app.sign_in({"username": "ada", "password": PASSWORD}))
    second = secured_app.sign_in(
        {"username": "ada", "password": PASSWORD}, Cookie=f"{SESSION_COOKIE}={first}", **SAME_ORIGIN
    )
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
    assert browser.get_cookie(SESSION_COOKIE) is None


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
        {**token, "Cookie": f"{SESSION_COOKIE}=nonsense"},
        {**token, "Cookie": f"{SESSION_COOKIE}="},
    ):
        response = secured_app.anonymous.get("/me", headers=headers)
        assert response.status_code == 401
        assert "two credentials" in response.json["detail"]
    # Other cookies are none of ours.
    assert secured_app.anonymous.get("/me", headers={**token, "Cookie": "theme=dark"}).status_code == 200


def test_in_setup_mode_a_bad_cookie_is_dropped_and_refuses_nothing(app: Flask, api: ApiClient) -> None:
    visitor = UserClient(app, {"Cookie": f"{SESSION_COOKIE}=nonsense"}, {})
    for response in (visitor.get("/users"), visitor.post("/users", {"username": "new"})):
        assert response.status_code in (200, 201)
        assert cookie_of(response) == ""
    assert len(api.list_users()) == 1
