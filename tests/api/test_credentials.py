"""Which credential counts, whatever else a request carries."""

from collections.abc import Callable
from http import HTTPStatus

import pytest
from flask import Flask

from app.http.auth import COOKIE
from tests.support.secured_app import OURS, SecuredApp, UserClient, cookie_of

FOREIGN = [
    "theme=gr\xfcn",
    "theme=gr\xc3\xbcn",
    'theme="half',
    'theme="a; b',
    "theme",
    "=",
    ";;;",
    f"{COOKIE}=",
    f"{COOKIE}=nonsense",
    f"{COOKIE}=gr\xfcn",
    f"{COOKIE}={'A' * 43}.{'0' * 32}",
    f"{COOKIE}_=x; x{COOKIE}=y; {COOKIE.upper()}=z",
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
def test_no_other_cookie_ends_a_session(house: SecuredApp, foreign: str) -> None:
    """Fault 6: cookies of other applications, and of other hosts under our own name, are sent to us as well."""
    good = f"{COOKIE}={house.secret(house.make('editor'))}"
    for cookie in (f"{foreign}; {good}", f"{good}; {foreign}", f"{foreign}; {good}; {foreign}"):
        person = UserClient(house.app, {"Cookie": cookie, **OURS}, {})
        assert person.get("/me").status_code == HTTPStatus.OK, cookie
        person.make()
        page = person.flask_client.get("/people", headers=person.headers)
        assert (page.status_code, page.headers.getlist("Set-Cookie")) == (HTTPStatus.OK, []), cookie


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_browser_with_any_cookie_can_sign_in_and_out(house: SecuredApp, foreign: str) -> None:
    """Fault 6: it was led from the sign-in page to the sign-in page for ever."""
    house.make(username="ada", password="correct horse battery")
    browser = house.app.test_client(use_cookies=False)
    headers = {"Cookie": foreign, **OURS}
    form = {"username": "ada", "password": "correct horse battery", "next": "/profile"}
    sent = browser.post("/sign-in", data=form, headers=headers)
    assert (sent.status_code, sent.location) == (HTTPStatus.SEE_OTHER, "/profile")
    headers["Cookie"] = f"{foreign}; {COOKIE}={cookie_of(sent)}"
    assert browser.get("/profile", headers=headers).location.startswith("/people/")
    left = browser.post("/sign-out", headers=headers)
    assert cookie_of(left) == ""
    assert browser.get("/profile", headers=headers).location.startswith("/sign-in")


def test_signing_in_ends_every_session_that_the_request_came_with(house: SecuredApp) -> None:
    """Fault 6: the first cookie of our name need not be the session."""
    user = house.make(username="ada", password="correct horse battery")
    earlier = house.secret(user)
    body = {"username": "ada", "password": "correct horse battery"}
    assert house.sign_in(body, Cookie=f"{COOKIE}=nonsense; {COOKIE}={earlier}").status_code == HTTPStatus.CREATED
    assert house.by_cookie(earlier).get("/me").status_code == HTTPStatus.UNAUTHORIZED


def test_the_language_is_kept_beside_any_cookie(house: SecuredApp) -> None:
    """Fault 6: the other cookie that we read."""
    browser = house.app.test_client(use_cookies=False)
    for cookie in ("theme=gr\xfcn; fsa_language=fr", 'a="; fsa_language=fr', "fsa_language=xx; fsa_language=fr"):
        assert '<html lang="fr">' in browser.get("/sign-in", headers={"Cookie": cookie}).text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_that_is_not_ours_is_ignored(house: SecuredApp, scheme: str) -> None:
    """Fault 8: a proxy in front may want its own credential; the cookie decides, and without one there is none."""
    foreign = {"Authorization": scheme}
    person = house.by_session(house.make("editor"))
    assert person.get("/me", headers=foreign).status_code == HTTPStatus.OK
    assert person.post("/users", {"username": "made"}, headers=foreign).status_code == HTTPStatus.CREATED
    refused, plain = house.nobody.get("/me", headers=foreign), house.nobody.get("/me")
    assert refused.status_code == plain.status_code == HTTPStatus.UNAUTHORIZED
    assert refused.json["detail"] == plain.json["detail"]
    assert house.nobody.get("/health", headers=foreign).status_code == HTTPStatus.OK
    assert house.nobody.post("/users", {"username": "more"}, headers=foreign).status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_that_is_not_ours_lets_no_other_page_in(house: SecuredApp, scheme: str) -> None:
    """Fault 8: browsers send Basic by themselves, so it proves nothing about who asks."""
    user = house.make("editor")
    for origin in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        headers = {"Cookie": f"{COOKIE}={house.secret(user)}", "Authorization": scheme, **origin}
        answer = UserClient(house.app, headers, {}).post("/users", {"username": "forged"})
        assert answer.status_code == HTTPStatus.FORBIDDEN, origin


@pytest.mark.parametrize("scheme", SCHEMES)
def test_in_an_open_service_it_lets_no_other_page_in_either(
    make_app: Callable[..., Flask],
    empty: Callable[[], None],  # noqa: ARG001 - called for its effect
    scheme: str,
) -> None:
    """Fault 8: there nobody needs a credential at all."""
    nobody = UserClient(make_app(), {"Authorization": scheme}, {})
    forged = nobody.post("/users", {"username": "forged"}, headers={"Origin": "http://evil.example"})
    assert forged.status_code == HTTPStatus.FORBIDDEN
    assert nobody.post("/users", {"username": "own"}).status_code == HTTPStatus.CREATED


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
def test_a_browser_may_change_things_from_its_own_origin(
    make_app: Callable[..., Flask], house: SecuredApp, host: str, origin: str, proto: str, status: int
) -> None:
    """Fault 7: by session, and signing in as well; directly, and behind a proxy that says `https,http`."""
    app = make_app(trusted_proxies="127.0.0.0/8")
    user = house.make(username="ada", password="correct horse battery")
    for chain in (
        {"X-Forwarded-Proto": proto},
        {"X-Forwarded-Proto": f"{proto},http"},
        {"Forwarded": f"proto={proto}"},
    ):
        headers = {"Host": host, "Origin": origin, **chain}
        person = UserClient(app, {"Cookie": f"{COOKIE}={house.secret(user)}", **headers}, {})
        assert person.patch("/me", {"name": "Ada"}).status_code == status, chain
        sent = UserClient(app, headers, {}).post("/session", {"username": "ada", "password": "correct horse battery"})
        assert sent.status_code == (201 if status == HTTPStatus.OK else status), chain
        if status == HTTPStatus.OK:
            assert ("Secure" in sent.headers["Set-Cookie"]) == (proto == "https")
