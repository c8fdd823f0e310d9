"""Cached responses equal uncached responses byte for byte."""

import itertools
from collections.abc import Callable

import pytest
from flask import Flask

from app.http.parsing import SESSION_COOKIE
from tests.support.api_client import SORTS
from tests.support.cache_pair import CachePair, SampleUsers, require_same, wsgi_get
from tests.support.leases import grant_lease
from tests.support.secured_app import SecuredApp, UserClient
from tests.support.service_process import Service

QUERIES = [
    "",
    "limit=2",
    "limit=2&sort=-name",
    "sort=-name&limit=2",
    "q=a",
    "q=ada&role=editor&limit=1",
    "q=%C3%A4",
    "q=\u00e4",
    "q=+",
    "attributes.team=blue",
    "attributes.t%20m=1&limit=1",
    "deleted=true",
    "deleted=false",
    "active=true&limit=1",
    "limit=0",
    "limit=x",
    "limit=2&limit=2",
    "unknown=1",
    "cursor=nonsense",
    "q=%00",
    "q=%FF",
    "&&limit=1&",
    *(f"limit=3&sort={sort}" for sort in SORTS),
]


def test_all_actors_get_the_same_response_with_and_without_caches(pair: CachePair, sample_users: SampleUsers) -> None:
    statuses = set()
    for path, token in itertools.product(sample_users.paths, sample_users.tokens.values()):
        statuses.add(require_same(pair, path, token).status[:3])
    assert statuses == {"200", "302", "400", "401", "403", "404", "405"}


@pytest.mark.parametrize("base", ["/api/users", "/users"])
def test_cached_pages_are_the_same(pair: CachePair, sample_users: SampleUsers, base: str) -> None:
    statuses = set()
    for query in QUERIES:
        for name in ("root", "vera", "ada", "viewer of ada", "bob", "member of ada", "revoked", "off", "lowered"):
            statuses.add(require_same(pair, f"{base}?{query}" if query else base, sample_users.tokens[name]).status[:3])
    assert statuses == {"200", "400", "401", "403", "422"}


def test_links_lead_through_the_same_pages(pair: CachePair, sample_users: SampleUsers) -> None:
    path, walked = "/api/users?limit=2&sort=-username", 0
    while path:
        response = require_same(pair, path, sample_users.tokens["root"])
        links = dict(
            reversed(value.replace("<", "").replace(">", "").split("; "))
            for name, value in response.headers
            if name == "Link"
        )
        path, walked = links.get('rel="next"', "").partition("localhost")[2], walked + 1
    assert walked == 3


# Methods that count no write, whose number an answer tells.
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "get"])
@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": '"1"'},
        {"If-None-Match": 'W/"1"'},
        {"If-None-Match": "*"},
        {"If-None-Match": '"7"'},
        {"If-None-Match": ""},
        {"If-Match": '"7"'},
        {"If-Modified-Since": "Wed, 21 Oct 2065 07:28:00 GMT"},
        {"Range": "bytes=0-1"},
        {"Accept": "text/html"},
        {"Accept-Language": "fr"},
        {"Accept-Encoding": "gzip, br"},
        {"Prefer": "count=exact"},
        {"Prefer": ""},
        {"Cookie": f"{SESSION_COOKIE}=nonsense"},
        {"Cookie": "theme=dark"},
        {"Cookie": ""},
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Request-ID": "sane-1"},
        {"X-Request-ID": "a" * 128},
        {"X-Request-ID": "a" * 129},
        {"X-Request-ID": "in sane"},
        {"X-Request-ID": "\u00e9"},
        {"X-Request-ID": ""},
        {"Host": "elsewhere.example"},
        {"Host": "elsewhere.example:8080"},
        {"Host": "bad host"},
        {"Host": "[::1]:5000"},
        {"X-Forwarded-Host": "elsewhere.example", "X-Forwarded-Proto": "https"},
        {"Content-Type": "application/json"},
        {"User-Agent": "\x7f\u00e9"},
        {"X-HTTP-Method-Override": "DELETE"},
    ],
    ids=str,
)
def test_any_header_changes_a_response_as_it_does_without_caches(
    pair: CachePair, sample_users: SampleUsers, method: str, headers: dict[str, str]
) -> None:
    for path in (f"/api/users/{sample_users.ids['bob']}", "/api/me", "/users?limit=2"):
        require_same(pair, path, sample_users.tokens["ada"], headers=headers, method=method)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["localhost", "a.example", "b.example:81"])
def test_responses_are_the_same_under_any_address(
    pair: CachePair, sample_users: SampleUsers, scheme: str, host: str
) -> None:
    for others in ("http://other.example", f"{scheme}://{host}"):
        for path in (f"/api/users/{sample_users.ids['bob']}", "/api/me", "/users?limit=2", "/api/users"):
            response = require_same(pair, path, sample_users.tokens["ada"], base_url=others)
    assert all(f"<{scheme}://{host}/" in value for name, value in response.headers if name == "Link")


@pytest.mark.parametrize(
    "authorization",
    ["bearer {}", "BEARER {}", "Bearer  {}", "Bearer {} ", "Bearer\t{}", "Bearer", "Bearer ", "{}", "Basic {}",
     "Token {}", "Bearer {},Bearer {}", " Bearer {}", "", "Bearer \u00e9", "Bearer {}\u00a0", "B\u00e9arer {}"],
)  # fmt: skip
def test_the_authorization_header_is_read_the_same_way(
    pair: CachePair, sample_users: SampleUsers, authorization: str
) -> None:
    headers = {"Authorization": authorization.format(sample_users.tokens["ada"], sample_users.tokens["bob"])}
    for path in (f"/api/users/{sample_users.ids['bob']}", "/api/me", "/users?limit=2"):
        require_same(pair, path, headers=headers)


def test_a_header_beyond_latin_1_is_refused(pair: CachePair, sample_users: SampleUsers) -> None:
    """PEP 3333 wants Latin-1; some pass on what they read as UTF-8."""
    path = f"/api/users/{sample_users.ids['bob']}"
    assert require_same(pair, path, environ_overrides={"HTTP_AUTHORIZATION": "Bearer 田中"}).status[:3] == "401"


def test_authorization_bytes_that_are_not_text_are_refused(
    serve: Callable[..., Service], sample_users: SampleUsers
) -> None:
    """On the real server."""
    service = serve(LOG_LEVEL="warning", WORKERS="1")
    path, good = f"/api/users/{sample_users.ids['bob']}", f"Bearer {sample_users.tokens['ada']}".encode()
    for value in (b"Bearer \xff\xfe", "Bearer 田中".encode(), good + "é".encode(), good + b"\xe9"):
        assert service.get(path, headers={"Authorization": value}).status in (400, 401)
    assert service.get(path, headers={"Authorization": good}).status == 200
    assert [line for line in service.events if line["event"] not in ("server_unavailable", "server_available")] == []


@pytest.mark.parametrize("public", [False, True])
def test_in_a_service_without_administrator_cached_responses_are_the_same(
    make_app: Callable[..., Flask],
    empty: Callable[[], None],  # noqa: ARG001 - called for its effect
    public: bool,
) -> None:
    """In setup mode requests of this machine are accepted. A service published wider is secured from the start."""
    maker = make_app()
    anonymous = UserClient(maker, {}, {})
    user, viewer = anonymous.create_user(username="bob"), anonymous.create_user(username="vera", role="viewer")
    body = {"name": "t", "user_id": viewer["id"], "role": "viewer"}
    token = anonymous.post("/tokens", body).json["token"]
    address = {"published_address": "0.0.0.0"} if public else {}  # noqa: S104 - nothing listens
    app = make_app(**address)
    grant_lease(app)
    pair = CachePair(app, make_app(**address, cache_ttl_s=0))
    for path in (f"/api/users/{user['id']}", "/api/me", "/api/users?limit=1"):
        for one in (None, token, "nonsense"):
            require_same(pair, path, one)
            require_same(pair, path, one, headers={"Host": "elsewhere.example"})
        assert pair.is_hit(path, token) == public
    # Setup mode ignores tokens, because a request without credentials may do all.
    assert pair.uncached("/api/tokens", token).status[:3] == ("403" if public else "200")


def test_behind_a_trusted_proxy_links_have_the_host_of_the_request(
    make_app: Callable[..., Flask], own_secured_app: SecuredApp, sample_users: SampleUsers
) -> None:
    app = make_app(trusted_proxies="10.0.0.0/8")
    grant_lease(app)
    for host, scheme in itertools.product(["a.example", "b.example"] * 2, ["http", "https"]):
        headers = {"X-Forwarded-Host": host, "X-Forwarded-Proto": scheme, "X-Forwarded-For": "192.0.2.1"}
        response = wsgi_get(
            app.wsgi_app,
            "/api/users?limit=2",
            sample_users.tokens["root"],
            headers=headers,
            environ_base={"REMOTE_ADDR": "10.0.0.1"},
        )
        links = [value for name, value in response.headers if name == "Link"]
        assert links
        assert all(value.startswith(f"<{scheme}://{host}/") for value in links), links
    assert own_secured_app.admin.get("/users").status_code == 200
