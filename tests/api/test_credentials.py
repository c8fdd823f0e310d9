"""The credential that counts if a request has several."""

from collections.abc import Callable
from http import HTTPStatus

import pytest
from flask import Flask

from app.http.parsing import SESSION_COOKIE
from tests.support.secured_app import SAME_ORIGIN, SecuredApp, UserClient, cookie_of

FOREIGN = [
    "theme=gr\xfcn",
    "theme=gr\xc3\xbcn",
    'theme="half',
    'theme="a; b',
    "theme",
    "=",
    ";;;",
    f"{SESSION_COOKIE}=",
    f"{SESSION_COOKIE}=nonsense",
    f"{SESSION_COOKIE}=gr\xfcn",
    f"{SESSION_COOKIE}={'A' * 43}.{'0' * 32}",
    f"{SESSION_COOKIE}_=x; x{SESSION_COOKIE}=y; {SESSION_COOKIE.upper()}=z",
]
SCHEMES = [
    "Basic YWRhOnB3",
    "basic YWRhOnB3",
    "Negotiate YIIJvwYGKwYBBQUC",
    'Digest username="Mufasa"',
    "Bea\xfcrer x",
    "",
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_no_other_cookie_ends_a_session(secured_app: SecuredApp, foreign: str) -> None:
    """Browsers also send cookies of other applications, and cookies of the same name of other hosts."""
    good = f"{SESSION_COOKIE}={secured_app.session_cookie(secured_app.create_user('editor'))}"
    for cookie in (f"{foreign}; {good}", f"{good}; {foreign}", f"{foreign}; {good}; {foreign}"):
        client = UserClient(secured_app.app, {"Cookie": cookie, **SAME_ORIGIN}, {})
        assert client.get("/me").status_code == HTTPStatus.OK, cookie
        client.create_user()
        page = client.flask_client.get("/people", headers=client.headers)
        assert (page.status_code, page.headers.getlist("Set-Cookie")) == (HTTPStatus.OK, []), cookie


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_browser_with_any_cookie_can_sign_in_and_out(secured_app: SecuredApp, foreign: str) -> None:
    """Regression: such a browser was redirected from the sign-in page to the sign-in page without end."""
    secured_app.create_user(username="ada", password="correct horse battery")
    browser = secured_app.app.test_client(use_cookies=False)
    headers = {"Cookie": foreign, **SAME_ORIGIN}
    form = {"username": "ada", "password": "correct horse battery", "next": "/profile"}
    sent = browser.post("/sign-in", data=form, headers=headers)
    assert (sent.status_code, sent.location) == (HTTPStatus.SEE_OTHER, "/profile")
    headers["Cookie"] = f"{foreign}; {SESSION_COOKIE}={cookie_of(sent)}"
    assert browser.get("/profile", headers=headers).location.startswith("/people/")
    left = browser.post("/sign-out", headers=headers)
    assert cookie_of(left) == ""
    assert browser.get("/profile", headers=headers).location.startswith("/sign-in")


def test_signing_in_ends_every_session_that_the_request_came_with(secured_app: SecuredApp) -> None:
    """The first cookie with the name of the session may be another one."""
    user = secured_app.create_user(username="ada", password="correct horse battery")
    earlier = secured_app.session_cookie(user)
    body = {"username": "ada", "password": "correct horse battery"}
    assert (
        secured_app.sign_in(body, Cookie=f"{SESSION_COOKIE}=nonsense; {SESSION_COOKIE}={earlier}").status_code
        == HTTPStatus.CREATED
    )
    assert secured_app.cookie_client(earlier).get("/me").status_code == HTTPStatus.UNAUTHORIZED


def test_the_language_is_kept_beside_any_cookie(secured_app: SecuredApp) -> None:
    """The language is the other cookie of the service."""
    browser = secured_app.app.test_client(use_cookies=False)
    for cookie in ("theme=gr\xfcn; fsa_language=fr", 'a="; fsa_language=fr', "fsa_language=xx; fsa_language=fr"):
        assert '<html lang="fr">' in browser.get("/sign-in", headers={"Cookie": cookie}).text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_unknown_authorization_scheme_is_ignored(secured_app: SecuredApp, scheme: str) -> None:
    """A proxy in front may want its own credential; the cookie decides, and without one there is none."""
    foreign = {"Authorization": scheme}
    client = secured_app.session_client(secured_app.create_user("editor"))
    assert client.get("/me", headers=foreign).status_code == HTTPStatus.OK
    assert client.post("/users", {"username": "made"}, headers=foreign).status_code == HTTPStatus.CREATED
    refused, plain = secured_app.anonymous.get("/me", headers=foreign), secured_app.anonymous.get("/me")
    assert refused.status_code == plain.status_code == HTTPStatus.UNAUTHORIZED
    assert refused.json["detail"] == plain.json["detail"]
    assert secured_app.anonymous.get("/health", headers=foreign).status_code == HTTPStatus.OK
    assert (
        secured_app.anonymous.post("/users", {"username": "more"}, headers=foreign).status_code
        == HTTPStatus.UNAUTHORIZED
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_unknown_authorization_scheme_does_not_disable_the_origin_check(
    secured_app: SecuredApp, scheme: str
) -> None:
    """Browsers send Basic on their own, so it does not prove the origin of a request."""
    user = secured_app.create_user("editor")
    for origin in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        headers = {"Cookie": f"{SESSION_COOKIE}={secured_app.session_cookie(user)}", "Authorization": scheme, **origin}
        response = UserClient(secured_app.app, headers, {}).post("/users", {"username": "forged"})
        assert response.status_code == HTTPStatus.FORBIDDEN, origin


@pytest.mark.parametrize("scheme", SCHEMES)
def test_setup_mode_refuses_a_foreign_page_with_any_authorization_scheme(
    make_app: Callable[..., Flask],
    empty: Callable[[], None],  # noqa: ARG001 - called for its effect
    scheme: str,
) -> None:
    """Setup mode requires no credential."""
    anonymous = UserClient(make_app(), {"Authorization": scheme}, {})
    forged = anonymous.post("/users", {"username": "forged"}, headers={"Origin": "http://evil.example"})
    assert forged.status_code == HTTPStatus.FORBIDDEN
    assert anonymous.post("/users", {"username": "own"}).status_code == HTTPStatus.CREATED


@pytest.mark.parametrize(
    ("host", "origin", "proto", "status"),
    [
        ("users.example:443", "https://users.example", "https", 200),
        ("users.example", "https://users.example:443", "https", 200),
        ("users.example:80", "http://users.example", "http", 200),
        ("users.example", "http://users.example:80", "http", 200),
        ("users.example", "http://users.example", "https", 403),
        ("users.example:443", "http://users.example:443", "https", 403),
        ("users.example", "https://other.example", "https", 403),
        ("users.example", "https://users.example:8443", "https", 403),
    ],
)
def test_a_browser_may_write_from_the_origin_of_the_service(
    make_app: Callable[..., Flask], secured_app: SecuredApp, host: str, origin: str, proto: str, status: int
) -> None:
    """By session, and signing in as well; directly, and behind a proxy that says `https,http`."""
    app = make_app(trusted_proxies="127.0.0.0/8")
    user = secured_app.create_user(username="ada", password="correct horse battery")
    for chain in (
        {"X-Forwarded-Proto": proto},
        {"X-Forwarded-Proto": f"{proto},http"},
        {"Forwarded": f"proto={proto}"},
    ):
        headers = {"Host": host, "Origin": origin, **chain}
        client = UserClient(app, {"Cookie": f"{SESSION_COOKIE}={secured_app.session_cookie(user)}", **headers}, {})
        assert client.patch("/me", {"name": "Ada"}).status_code == status, chain
        sent = UserClient(app, headers, {}).post("/session", {"username": "ada", "password": "correct horse battery"})
        assert sent.status_code == (201 if status == HTTPStatus.OK else status), chain
        if status == HTTPStatus.OK:
            assert ("Secure" in sent.headers["Set-Cookie"]) == (proto == "https")
