"""Headers: cookies, tokens, conditions, Idempotency-Key, languages, forwarded headers, and every other one."""

import ipaddress
import itertools
import re
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest

from tests.attack.fuzzing import fuzz
from tests.attack.hostile import LATIN, damaged, header, mostly
from tests.attack.raw_client import RawClient
from tests.attack.rounds import Rounds
from tests.support.secured_app import SecuredApp

JSON = (b"content-type", b"application/json")
ORIGIN = (b"origin", b"http://localhost")
_NUMBERS = itertools.count(1)


class Owner:
    """A user, and the secrets of a session and of a token."""

    def __init__(self, site: SecuredApp) -> None:
        self.user = site.create_user("admin", username="someone")
        self.id = str(self.user["id"])
        self.token = site.token(self.user)["token"]
        self.cookie = site.session_cookie(self.user)
        self.other = site.session_cookie(site.create_user(username="other"))
        self.send = RawClient(site.app)
        self.by_token = RawClient(site.app, {"Authorization": f"Bearer {self.token}"})
        self.path = f"/api/users/{self.id}".encode()


@pytest.fixture
def owner(new_site: Callable[[], SecuredApp], no_errors_logged: None) -> Owner:  # noqa: ARG001 - it watches the log
    return Owner(new_site())


def test_cookies(rounds: Rounds, owner: Owner) -> None:
    """Only the secret signs in, whatever other cookies are around it, and no other cookie hides it."""
    own = f"fsa_session={owner.cookie}"
    junk = damaged(st.sampled_from([own, "a=b", 'x="y', "fsa_language=fr", "fsa_session=", "fsa_session", "é=ÿ"]))

    def check(parts: list[str]) -> None:
        raw = "; ".join(parts).encode("latin-1", "replace")
        values = [part.strip(" \t") for part in raw.decode("latin-1").split(";")]
        sessions = [value for value in values if value.split("=")[0].strip() == "fsa_session"]
        is_own = any(value in (own, f'fsa_session="{owner.cookie}"') for value in sessions[:8])
        for path in (b"/api/me", b"/api/users", b"/profile", b"/api/session"):
            answer = owner.send("GET", path, [(b"cookie", raw)])
            is_in = answer.status_code == 200 or answer.headers.get("Location") == f"/people/{owner.id}"
            assert is_in or not is_own or len(sessions) > 8, answer.data
            assert is_own or owner.cookie in raw.decode("latin-1") or not is_in
        page = owner.send("GET", b"/sign-in", [(b"cookie", raw)])
        assert page.status_code == 200

    lists = st.lists(junk, max_size=4)
    fuzz(rounds, check, lists | st.builds(lambda before, after: [*before, own, *after], lists, lists))


def test_tokens(rounds: Rounds, owner: Owner) -> None:
    """A damaged token never authenticates, on a read or on a write, cached or not."""
    right = f"Bearer {owner.token}"
    assert owner.send("GET", b"/api/me", [(b"authorization", right.encode())]).status_code == 200

    def check(raw: bytes) -> None:
        scheme, _, secret = raw.partition(b" ")
        is_right = scheme.lower() == b"bearer" and secret.strip() == owner.token.encode()
        for _ in range(2):
            answer = owner.send("GET", owner.path, [(b"authorization", raw)])
            assert answer.status_code == (200 if is_right else 401), raw
        write = owner.send("PATCH", owner.path, [(b"authorization", raw), JSON], b"{}")
        # A write without a valid credential may also lack a proof of its origin.
        assert write.status_code == 200 if is_right else write.status_code in (401, 403), raw

    words = st.sampled_from(
        [right, right.lower(), right.replace(" ", "  "), f"BEARER {owner.token}", f"Basic {owner.token}"]
    )
    fuzz(rounds, check, header(words))


TAG = st.sampled_from(['"1"', '"2"', 'W/"1"', 'W/"2"', '""', '"a,b"', '"1', '"*"', '"11"'])


def tags_of(raw: str) -> list[tuple[bool, str]] | None:
    """Weakness and value of each tag of a list (RFC 9110, section 8.8.3). None: it is no such list."""
    if not re.fullmatch(r'(W/)?"[^"]*"([ \t]*,[ \t]*(W/)?"[^"]*")*', raw):
        return None
    return [(weak != "", value) for weak, value in re.findall(r'(W/)?"([^"]*)"', raw)]


def test_conditions(rounds: Rounds, owner: Owner) -> None:
    """If-Match compares strongly, If-None-Match weakly; a write happens only if the condition holds."""

    def check(raw: bytes) -> None:
        tags = [(False, "1"), (True, "1")] if raw == b"*" else tags_of(raw.decode("latin-1"))
        patch = owner.by_token("PATCH", owner.path, [(b"if-match", raw), JSON], b"{}").status_code
        read = owner.by_token("GET", owner.path, [(b"if-none-match", raw)]).status_code
        put = owner.by_token("PUT", b"/api/users/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", [(b"if-match", raw), JSON],
                            b'{"username": "new"}').status_code  # fmt: skip
        assert patch in (200, 412)
        assert read in (200, 304)
        assert put == 412
        if tags is not None:
            assert (patch == 200) == ((False, "1") in tags), raw
            assert (read == 304) == ("1" in [value for _, value in tags]), raw

    lists = st.builds(
        lambda tags, comma: comma.join(tags), st.lists(TAG, min_size=1, max_size=4), st.sampled_from([",", ", "])
    )
    fuzz(rounds, check, mostly(lists.map(str.encode), st.just(b"*") | header(lists)))


def test_idempotency_keys(rounds: Rounds, owner: Owner) -> None:
    """A key of 1 to 255 printable characters creates one user. Any other is refused, and creates none."""

    def check(raw: bytes) -> None:
        name = f"user-{next(_NUMBERS)}"
        # No other example may have the key.
        body, unique = orjson.dumps({"username": name}), b"%09d" % next(_NUMBERS)
        key = unique + raw[9:] if len(raw) > 9 else unique + raw
        answers = [owner.by_token("POST", b"/api/users", [(b"idempotency-key", key), JSON], body) for _ in range(2)]
        if re.fullmatch(rb"[ -~]{1,255}", key):
            assert [answer.status_code for answer in answers] == [201, 201]
            assert answers[0].data == answers[1].data
        else:
            assert [answer.status_code for answer in answers] == [400, 400]
            found = owner.by_token("GET", b"/api/users?username=" + name.encode())
            assert orjson.loads(found.data) == []

    fuzz(rounds, check, header(st.sampled_from(["a", "two words", '"quoted"', "x" * 245, "x" * 255, "y" * 256])), 25)


def test_languages(rounds: Rounds, owner: Owner) -> None:
    """A page is in the language that the browser prefers, or in English."""
    ranges = st.tuples(
        st.sampled_from(["en", "fr", "de", "*;q=0.1"]), st.sampled_from(["", "0.9", "0.5", "0.001", "0"])
    )

    def check(value: list[tuple[str, str]] | bytes) -> None:
        raw = (
            value if isinstance(value, bytes) else ", ".join(f"{tag};q={q}" if q else tag for tag, q in value).encode()
        )
        page = owner.send("GET", b"/sign-in", [(b"accept-language", raw)])
        assert page.status_code == 200
        found = re.search(r'<html lang="(\w+)"', page.get_data(as_text=True))
        assert found is not None
        assert found[1] in ("en", "fr")
        quality = {tag: float(q or 1) for tag, q in value} if isinstance(value, list) else {}
        if "*" not in raw.decode("latin-1") and len(quality) == len(value):
            expected = "fr" if quality.get("fr", 0) > quality.get("en", 0) else "en"
            is_tie = "fr" in quality and quality["fr"] == quality.get("en")
            assert found[1] == expected or is_tie, raw

    fuzz(
        rounds,
        check,
        mostly(st.lists(ranges, min_size=1, max_size=3), header(st.sampled_from(["fr-CA, en;q=0.5", "fr;q=1e9"]))),
    )


HOPS = st.sampled_from(["127.0.0.2", "127.0.0.1:80", "203.0.113.7", "203.0.113.8:4711", "[2001:db8::1]:80",
                        "2001:db8::2", "::ffff:203.0.113.9", "unknown", "_hidden", "", "300.1.1.1"])  # fmt: skip


def client_of(hops: list[str]) -> str:
    """The nearest address that is no trusted proxy (127.0.0.0/8); an unreadable one hides all before it."""
    client = "127.0.0.1"
    for hop in reversed([hop for hop in hops if hop]):
        address = re.sub(r"^\[(.*)\](:\d+)?$|^([\d.]+):\d+$", r"\1\3", hop)
        try:
            found: Any = ipaddress.ip_address(address)
        except ValueError:
            break
        client = str(getattr(found, "ipv4_mapped", None) or found)
        if not client.startswith("127."):
            break
    return client


GOOD_HOSTS = (b"users.example", b"users.example:8443", b"[::1]:80", b"a.example, b.example", b"a@b")


def test_forwarded_headers(rounds: Rounds, owner: Owner) -> None:
    """A trusted proxy names the client. The claims of a client change nothing. Links stay well formed."""

    def check(value: tuple[list[str], bytes, bytes, bytes]) -> None:
        hops, scheme, host, forwarded = value
        claims = [(b"x-forwarded-for", ", ".join(hops).encode()), (b"x-forwarded-proto", scheme),
                  (b"x-forwarded-host", host), (b"forwarded", forwarded)]  # fmt: skip
        for client, headers in (("127.0.0.1", claims), ("198.51.100.7", claims), ("127.0.0.1", claims[3:])):
            body = b'{"name": "%d"}' % next(_NUMBERS)
            write = owner.by_token("PATCH", owner.path, [*headers, JSON], body, client)
            if write.status_code == 400 and client == "127.0.0.1":
                assert host not in GOOD_HOSTS
                continue
            assert write.status_code == 200
            entry = orjson.loads(owner.by_token("GET", owner.path + b"/history?limit=1").data)[0]
            ipaddress.ip_address(entry["address"])
            link = owner.by_token("GET", b"/api/users?limit=1", headers, client=client).headers["Link"]
            assert re.match(r'<https?://[\w.:\[\]-]+/api/users\?limit=1>; rel="first"', link), link
            if client != "127.0.0.1":
                assert entry["address"] == client
                assert link.startswith("<http://localhost/")
            elif headers is claims:
                assert entry["address"] == client_of(hops)

    schemes = header(st.sampled_from(["http", "https", "https, http", "javascript", "HTTPS"]))
    hosts = header(st.sampled_from([host.decode() for host in GOOD_HOSTS]))
    elements = header(
        st.sampled_from(['for=192.0.2.1;proto=https;host=users.example, for="[2001:db8::1]:4711"', "for=_x"])
    )
    fuzz(rounds, check, st.tuples(st.lists(HOPS, max_size=4), schemes, hosts, elements), examples=25)


HEADERS = ["accept", "accept-language", "authorization", "content-encoding", "content-length", "content-type", "cookie",
           "expect", "forwarded", "host", "hx-current-url", "hx-request-type", "hx-source", "hx-target", "if-match",
           "if-none-match", "if-modified-since", "idempotency-key", "origin", "prefer", "range", "sec-fetch-site",
           "transfer-encoding", "user-agent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
           "x-http-method-override", "x-request-id", "x-script-name"]  # fmt: skip
VALUES = ["text/html", "fr;q=0.5", "gzip", "count=exact", "same-origin", "http://localhost", "partial", "div#list",
          "http://localhost/people?q=a", "form#search", "bytes=0-1", "application/json; charset=utf-16"]  # fmt: skip


def test_every_header(rounds: Rounds, owner: Owner) -> None:
    """No header makes an error of the service, at a page, at the API, on a read or on a write."""
    cookie = (b"cookie", f"fsa_session={owner.cookie}".encode())
    form = (b"content-type", b"application/x-www-form-urlencoded")

    def check(value: dict[bytes, bytes]) -> None:
        headers = list(value.items())
        for path in (b"/api/users?limit=2", owner.path, b"/people", b"/sign-in", b"/nowhere", b"/api/health"):
            owner.send("GET", path, [cookie, *headers])
            owner.by_token("GET", path, headers)
        owner.send("POST", b"/language", [form, *headers], b"language=fr&next=/people")
        owner.by_token("POST", b"/api/users", [JSON, *headers], b'{"username": ""}')

    # Granian checks Content-Length itself.
    names = st.sampled_from([name.encode() for name in HEADERS if name != "content-length"])
    fuzz(rounds, check, st.dictionaries(names, header(st.sampled_from(VALUES)), min_size=1, max_size=3), examples=40)


def test_request_ids(rounds: Rounds, owner: Owner) -> None:
    """A sane request id comes back, and any other is replaced."""

    def check(raw: bytes) -> None:
        shown = owner.send("GET", b"/api/health/live", [(b"x-request-id", raw)]).headers["X-Request-ID"]
        assert re.fullmatch(r"[A-Za-z0-9._:/+=-]{1,128}", shown)
        if shown != raw.decode("latin-1"):
            assert not re.fullmatch(rb"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}", raw)

    fuzz(rounds, check, header(st.sampled_from(["abc", "a" * 128, "a" * 129, "-a"])) | st.text(LATIN, max_size=9).map(
        lambda text: text.encode("latin-1").strip() or b"x"))  # fmt: skip
