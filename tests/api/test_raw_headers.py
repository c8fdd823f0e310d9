"""Headers with underscores and non-ASCII bytes, on a real server."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from app.http.parsing import SESSION_COOKIE
from embedded import Stack
from tests.support.raw_http import RawResponse, request
from tests.support.secured_app import PASSWORD
from tests.support.service_process import Service

BYTES = bytes(range(0x80, 0x100))
CLIENT = b"203.0.113.9"
_NUMBERS = itertools.count(1)


class Site:
    """A secured service behind a proxy on this machine, with an administrator's cookie and token."""

    def __init__(self, service: Service) -> None:
        self.port = service.port
        self.cookie = self._cookie(self.sign_in())
        body = b'{"name": "a program", "role": "admin"}'
        made = self("POST", "/api/tokens", b"Content-Type: application/json", body=body, cookie=self.cookie)
        self.bearer = f"Authorization: Bearer {made.json['token']}".encode()
        self.user = self("GET", "/api/me", cookie=self.cookie).json["id"]

    def __call__(
        self, method: str, path: str, *headers: bytes, cookie: str | None = None, body: bytes = b""
    ) -> RawResponse:
        """A request with these headers; with a cookie, as a page of this service sends it."""
        own = [f"Cookie: {cookie}".encode(), b"Origin: http://127.0.0.1"] if cookie else []
        return request(self.port, method, path, [*own, *headers], body)

    def sign_in(self, *headers: bytes, password: str = PASSWORD, email: str = "ada@example.org") -> RawResponse:
        body = f'{{"email": "{email}", "password": "{password}"}}'.encode()
        return self("POST", "/api/session", b"Content-Type: application/json", *headers, body=body)

    def create(self, *headers: bytes) -> RawResponse:
        """A new user by the token, without a Content-Type."""
        return self("POST", "/api/users", self.bearer, *headers, body=b'{"username": "user-%d"}' % next(_NUMBERS))

    @staticmethod
    def _cookie(response: RawResponse) -> str:
        return response.all("Set-Cookie")[0].partition(";")[0]


@pytest.fixture(scope="module")
def site(serve_all: Callable[..., Service], servers: Stack) -> Iterator[Site]:
    name = f"headers_{uuid.uuid4().hex}"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    service = serve_all(
        DATABASE_URL=servers.postgres.url.replace("/usersdb", f"/{name}"),
        ADMIN_EMAIL="ada@example.org",
        ADMIN_PASSWORD=PASSWORD,
        TRUSTED_PROXIES="127.0.0.0/8",
        WORKERS="1",
    )
    yield Site(service)
    assert '"level":"error"' not in service.text
    service.kill()
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def both_orders(*headers: bytes) -> Any:
    return pytest.mark.parametrize("headers", [headers, headers[::-1]], ids=["behind", "before"])


# Names with underscores


@both_orders(b"X-Forwarded-For: " + CLIENT, b"X_Forwarded_For: 198.51.100.66")
def test_a_forged_address_is_not_the_clients(site: Site, headers: tuple[bytes, ...]) -> None:
    """X_Forwarded_For of a client overrode X-Forwarded-For of the proxy."""
    assert site.sign_in(*headers).json["session"]["address"] == CLIENT.decode()
    alone = [header for header in headers if b"_" in header]
    assert site.sign_in(*alone).json["session"]["address"] == "127.0.0.1"


@pytest.mark.parametrize("name", [b"X_Forwarded_For", b"X-Forwarded_For", b"X_Forwarded-For", b"x_FORWARDED_for"])
def test_a_forged_address_does_not_get_around_the_limits(site: Site, name: bytes) -> None:
    """Each try came from an address of its own: 12 of 12 were let through."""
    email, client = f"{uuid.uuid4()}@example.org", f"X-Forwarded-For: 2001:db8::{next(_NUMBERS)}".encode()
    forged = ((client, b"%s: 198.51.100.%d" % (name, number)) for number in range(12))
    statuses = [site.sign_in(*headers, email=email, password="wrong password").status for headers in forged]
    assert statuses == [401] * 5 + [429] * 7


@both_orders(b"X-Forwarded-Host: users.example", b"X_Forwarded_Host: evil.example")
def test_a_forged_host_is_in_no_link(site: Site, headers: tuple[bytes, ...]) -> None:
    """X_Forwarded_Host put another host into Link."""
    for credential in ({"cookie": site.cookie}, {}):
        bearer = [] if credential else [site.bearer]
        links = site("GET", "/api/users", *bearer, *headers, **credential).all("Link")
        assert links
        assert all(link.startswith("<http://users.example/api/users") for link in links)
        links = site("GET", "/api/users", *bearer, b"X_Forwarded_Host: evil.example", **credential).all("Link")
        assert all(link.startswith("<http://127.0.0.1/api/users") for link in links)


@pytest.mark.parametrize("host", [b"", b"users:", b"users:0", b"users:65536", b"a@b", b"a, b", b"a/b", b"\xff"])
def test_a_malformed_host_is_refused(site: Site, host: bytes) -> None:
    """RFC 9112, section 3.2. Links were http:///api/users. A malformed host of a proxy is ignored."""
    refused = request(site.port, "GET", "/api/users", [site.bearer], host=host)
    assert refused.status == 400
    assert refused.json["detail"] == "The Host header is malformed."
    links = site("GET", "/api/users", site.bearer, b"X-Forwarded-Host: " + host).all("Link")
    assert {link.partition("/api")[0] for link in links} <= {"<http://127.0.0.1", "<http://users", "<http://b"}


@both_orders(b"X-Forwarded-Proto: http", b"X_Forwarded_Proto: https")
def test_a_forged_scheme_makes_no_https(site: Site, headers: tuple[bytes, ...]) -> None:
    """The reverse took Secure from cookies."""
    assert "Secure" not in site.sign_in(*headers).all("Set-Cookie")[0]
    turned = [header.replace(b"http", b"X").replace(b"Xs", b"http").replace(b"X", b"https") for header in headers]
    turned = [header.replace(b"https-F", b"X-F").replace(b"https_F", b"X_F") for header in turned]
    assert "Secure" in site.sign_in(*turned).all("Set-Cookie")[0]


def test_forwarded_has_no_second_spelling(site: Site) -> None:
    """The fourth header of proxies that we trust."""
    assert site.sign_in(b"Forwarded: for=203.0.113.9;proto=https").json["session"]["address"] == "203.0.113.9"
    headers = b"_Forwarded: for=198.51.100.66", b"Forwarded_: for=198.51.100.66"
    assert site.sign_in(*headers).json["session"]["address"] == "127.0.0.1"


def test_nothing_else_is_read_from_a_name_with_underscores(site: Site) -> None:
    """Whatever a proxy in front looks at, or removes, is what the service reads."""
    path, given = f"/api/users/{site.user}", {"cookie": site.cookie}
    assert site("GET", "/api/health/live", b"X_Request_ID: forged").all("X-Request-ID") != ["forged"]
    assert site("GET", path, b"If_None_Match: *", **given).status == 200
    assert (
        site("GET", "/api/users", b"Prefer_: count=exact", b"_Prefer: count=exact", **given).all("X-Total-Count") == []
    )
    assert site.create(b"Content_Type: application/json").status == 415
    assert site.create(b"Content-Type: application/json", b"Content_Type: text/plain").status == 201
    assert site.create(b"Content-Type: application/json", b"Content_Encoding: gzip").status == 201
    assert site.create(b"Content-Type: application/json", b"Content_Length: 1").status == 201
    assert site.create(b"Content-Type: application/json", b"Transfer_Encoding: chunked").status == 201
    assert site.create(b"Content-Type: application/json", b"If_Match: *").status == 201
    key = b"Idempotency_Key: forged"
    made = [site.create(b"Content-Type: application/json", key) for _ in range(2)]
    assert [response.all("Idempotent-Replayed") for response in made] == [[], []]
    assert made[0].json["id"] != made[1].json["id"]
    assert '<html lang="en">' in site("GET", "/sign-in", b"Accept_Language: fr").body.decode()
    assert site("POST", "/language", b"Sec_Fetch_Site: cross-site", b"_Origin: http://evil.example").status == 303


# Bytes beyond ASCII


@pytest.mark.parametrize("path", ["/api/me", "/overview"])
@pytest.mark.parametrize(
    "name",
    ["Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Cache-Control", "Content-Type", "Cookie",
     "Forwarded", "HX-Current-URL", "HX-Target", "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match",
     "Origin", "Prefer", "Range", "Referer", "Sec-Fetch-Site", "User-Agent", "X-Any", "X-Forwarded-For",
     "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-ID"],
)  # fmt: skip
def test_no_byte_in_any_header_ends_a_session(site: Site, name: str, path: str) -> None:
    """The server handed on an empty header for bytes beyond ASCII, and 401 was the answer to each request."""
    for value in (BYTES, "grün".encode(), "grün".encode("latin-1"), b"a, " + BYTES + b';b="' + BYTES):
        for headers in ([f"Cookie: {site.cookie}".encode()], [b"Cookie: a=b; " + site.cookie.encode() + b"; c=d"]):
            sent = [*headers, name.encode() + b": " + value]
            for lines in (sent, sent[::-1]):
                assert request(site.port, "GET", path, lines).status == 200, lines


def test_a_foreign_cookie_in_the_same_header_ends_no_session(site: Site) -> None:
    """`Cookie: theme=grün; fsa_session=<good>` was 401."""
    for foreign in (b"theme=" + BYTES, "theme=grün".encode(), BYTES + b"=x", b'theme="gr\xfcn'):
        good = site.cookie.encode()
        for cookie in (foreign + b"; " + good, good + b"; " + foreign, foreign + b";" + good + b";" + foreign):
            assert request(site.port, "GET", "/api/me", [b"Cookie: " + cookie]).status == 200, cookie
            assert request(site.port, "GET", "/overview", [b"Cookie: " + cookie]).status == 200, cookie


def test_a_browser_with_such_a_cookie_can_sign_in(site: Site) -> None:
    """Regression: the browser was redirected from page to page without end."""
    form = f"username=ada%40example.org&password={PASSWORD.replace(' ', '+')}&next=%2Foverview".encode()
    own = [b"Origin: http://127.0.0.1", b"Content-Type: application/x-www-form-urlencoded"]
    foreign = b"Cookie: theme=gr\xfcn; fsa_session=" + BYTES
    sent = request(site.port, "POST", "/sign-in", [*own, foreign], form)
    assert (sent.status, sent.all("Location")) == (303, ["/overview"])
    secret = sent.all("Set-Cookie")[0].partition(";")[0].partition("=")[2].encode()
    cookie = foreign + b"; " + SESSION_COOKIE.encode() + b"=" + secret
    assert request(site.port, "GET", "/overview", [cookie]).status == 200


def test_a_condition_that_can_not_be_read_changes_nothing(site: Site) -> None:
    """If-Match still holds, and If-None-Match is read past such a tag."""
    body, path = b'{"name": "Changed"}', f"/api/users/{site.user}"
    for tag in (BYTES, b'"' + BYTES + b'"', '"grün"'.encode()):
        for credential in ({"cookie": site.cookie}, {}):
            headers = [b"Content-Type: application/json", b"If-Match: " + tag, *([] if credential else [site.bearer])]
            assert site("PATCH", path, *headers, body=body, **credential).status == 412
    assert site("GET", path, site.bearer).json["name"] != "Changed"
    # A tag that nothing has: a read gives all, a write may go on.
    assert site("GET", path, site.bearer, b'If-None-Match: "' + BYTES + b'"').status == 200
    mixed = b'If-None-Match: "' + BYTES + b'", W/"1"'
    assert site("GET", path, site.bearer, mixed).status == 304


def test_what_can_not_be_read_is_refused_or_ignored(site: Site) -> None:
    """Header by header, what each means when it holds such bytes."""
    json_type = b"Content-Type: application/json"
    assert site("GET", "/api/me", b"Authorization: Bearer " + BYTES).status == 401
    assert site("GET", "/api/me", b"Authorization: " + BYTES).status == 401
    assert site("GET", "/api/users", site.bearer, b"Prefer: count=" + BYTES + b", count=exact").all("X-Total-Count")
    assert site.create(b"Content-Type: application/json; x=" + BYTES).status in (201, 415)
    assert site.create(b"Content-Type: " + BYTES).status == 415
    assert site.create(json_type, b"Idempotency-Key: " + BYTES).status == 400
    assert site.create(json_type, b"Content-Encoding: " + BYTES).status == 415
    assert site("PATCH", "/api/me", json_type, cookie=site.cookie, body=b"{}").status == 200
    origin = [f"Cookie: {site.cookie}".encode(), json_type]
    assert request(site.port, "PATCH", "/api/me", [*origin, b"Origin: http://" + BYTES], b"{}").status == 403
    assert request(site.port, "PATCH", "/api/me", [*origin, b"Sec-Fetch-Site: " + BYTES], b"{}").status == 403
    request_ids = site("GET", "/api/health/live", b"X-Request-ID: " + BYTES).all("X-Request-ID")
    assert [value.isascii() and len(value) for value in request_ids] == [32]
    french = site("GET", "/sign-in", b"Accept-Language: " + BYTES + b", fr;q=0.9").body.decode()
    assert '<html lang="fr">' in french
    whole = site("GET", "/api/health/live", b"Range: bytes=0-" + BYTES)
    assert (whole.status, whole.body) == (200, site("GET", "/api/health/live").body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X-Forwarded-For", BYTES),
        (b"X-Forwarded-For", b"198.51.100.66" + BYTES),
        (b"X-Forwarded-Proto", b"https" + BYTES),
        (b"X-Forwarded-Host", b"evil" + BYTES + b".example"),
        (b"Forwarded", b"for=198.51.100.66" + BYTES),
        (b"Forwarded", b"host=evil" + BYTES),
    ],
)
def test_a_proxys_header_that_can_not_be_read_says_nothing(site: Site, name: bytes, value: bytes) -> None:
    """X-Forwarded-* and Forwarded."""
    signed_in = site.sign_in(name + b": " + value)
    assert signed_in.json["session"]["address"] == "127.0.0.1"
    assert "Secure" not in signed_in.all("Set-Cookie")[0]
    links = site("GET", "/api/users", site.bearer, name + b": " + value).all("Link")
    assert links
    assert all(link.startswith("<http://127.0.0.1/api/users") for link in links)


def test_repeated_headers_are_all_read(site: Site) -> None:
    """HTTP/2 clients and some proxies send each cookie in a header of its own."""
    for lines in itertools.permutations([f"Cookie: {site.cookie}".encode(), b"Cookie: a=1", b"Cookie: theme=gr\xfcn"]):
        assert request(site.port, "GET", "/api/me", lines).status == 200
    hops = [b"X-Forwarded-For: 198.51.100.66", b"X-Forwarded-For: " + CLIENT]
    assert site.sign_in(*hops).json["session"]["address"] == CLIENT.decode()
