"""All GET routes for all actors: each cache hit equals the uncached response."""

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.auth import tokens
from app.http.parsing import SESSION_COOKIE
from app.http.services import services_of
from tests.support.cache_pair import CachePair, WsgiResponse
from tests.support.leases import grant_lease
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient

PROXY = {"REMOTE_ADDR": "10.0.0.1"}
VIA_PROXY = {"X-Forwarded-Host": "b.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
USUAL: dict[str, Any] = {}
CONTEXTS: list[dict[str, Any]] = [
    USUAL,
    {"base_url": "http://a.example:81"},
    {"headers": VIA_PROXY, "environ_base": PROXY},
    {"headers": {"Accept-Language": "fr", "Accept": "text/html", "User-Agent": "Agent/1"}},
    {"headers": {"X-Request-ID": "sane-1", "Origin": "https://elsewhere.example", "Accept-Encoding": "gzip"}},
    {"headers": {"If-None-Match": '"1"'}},
    {"headers": {"Prefer": "count=exact"}},
]
CACHED_ROUTES = {"users.list_users", "root_users.list_users", "users.get", "root_users.get", "me.get", "root_me.get"}
SESSIONS = ("root", "bob")


class Walk:
    """Users of each role, two of most, with tokens; a hit is compared with what the service says without its caches."""

    def __init__(self, secured_app: SecuredApp, pair: CachePair) -> None:
        self.secured_app, self.pair = secured_app, pair
        self.users = {
            name: secured_app.create_user(
                role, username=name, name=name.title(), password=PASSWORD, attributes={"of": name}
            )
            for name, role in [
                *(("ada", "editor"), ("eve", "editor"), ("vera", "viewer"), ("viola", "viewer")),
                *(("bob", "member"), ("bea", "member")),
            ]
        }
        self.users["root"] = secured_app.admin.user
        self.tokens = {name: secured_app.token(user) for name, user in self.users.items()}
        self.tokens["second of root"] = secured_app.token(self.users["root"])
        self.tokens["viewer of ada"] = secured_app.token(self.users["ada"], "viewer")
        self.tokens["member of ada"] = secured_app.token(self.users["ada"], "member")
        self.tokens["member of root"] = secured_app.token(self.users["root"], "member")
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        self.tokens["lasting"] = secured_app.token(self.users["vera"], expires_at=tomorrow)
        self.cookies = {name: secured_app.session_cookie(self.users[name]) for name in SESSIONS}
        self.hits: set[tuple[str, str]] = set()

    def paths(self) -> Iterator[tuple[str, str]]:
        """Endpoint and path of every GET route, with some of the users in the place of one."""
        for rule in self.pair.app.url_map.iter_rules():
            if "GET" not in (rule.methods or ()):
                continue
            given = {"name": "start.js", "digest": "x"}
            ids = [self.users[name]["id"] for name in ("bob", "vera", "root")]
            for user_id in ids if "user_id" in rule.arguments else [""]:
                arguments = {name: given.get(name, user_id) for name in rule.arguments}
                built = self.pair.app.url_map.bind("localhost").build(rule.endpoint, arguments)
                yield rule.endpoint, built
            if rule.endpoint.removeprefix("root_") == "users.list_users":
                yield from ((rule.endpoint, f"{rule.rule}?{query}") for query in ("limit=2", "q=a&sort=-name"))

    def visitors(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each token, each session, and no credential."""
        for name, token in self.tokens.items():
            yield name, {"Authorization": f"Bearer {token['token']}"}
        for name, cookie in self.cookies.items():
            yield f"session of {name}", {"Cookie": f"{SESSION_COOKIE}={cookie}"}
        yield "anonymous", {}

    def go(self, *, again: bool = False) -> set[int]:
        """Everywhere, as everybody, twice: the first may put into the cache what others get. Returns the statuses.

        `again`: only where something was cached, and by fewer ways.
        """
        statuses = set()
        for (endpoint, path), (name, credential) in itertools.product(list(self.paths()), list(self.visitors())):
            # Console and documents never opt in: one way to come is enough.
            if endpoint not in CACHED_ROUTES:
                contexts = [] if again else CONTEXTS[:1]
            else:
                contexts = CONTEXTS[:3] if again else CONTEXTS
            for number, context in enumerate(contexts if name != "anonymous" else contexts[:1]):
                headers = {**credential, **context.get("headers", {})}
                wanted = self.pair.uncached(path, **{**context, "headers": headers})
                for _ in range(2):
                    before = self.pair.flask_requests
                    got = self.pair.cached(path, **{**context, "headers": headers})
                    is_hit = self.pair.flask_requests == before
                    require(got, wanted, whole=is_hit, of=f"{name} {path} {number}")
                    if is_hit:
                        self.hits.add((name, endpoint))
                statuses.add(int(wanted.status[:3]))
        return statuses


def require(got: WsgiResponse, wanted: WsgiResponse, *, whole: bool, of: str) -> None:
    assert got.status == wanted.status, of
    if whole:
        assert got.anonymous == wanted.anonymous, of


@pytest.fixture(scope="module")
def behind_proxy(make_app: Callable[..., Flask]) -> list[Flask]:
    """An application with its caches, and one without."""
    return [make_app(trusted_proxies="10.0.0.0/8", cache_ttl_s=ttl_s) for ttl_s in (60, 0)]


@pytest.fixture
def pair(behind_proxy: list[Flask], empty: Callable[[], None]) -> Iterator[CachePair]:  # noqa: ARG001 - for its effect
    for app in behind_proxy:
        services_of(app).generations.invalidate()
        services_of(app).state.is_secured = False
    grant_lease(behind_proxy[0])
    made = CachePair(*behind_proxy)
    yield made
    made.close()


@pytest.fixture
def walk(pair: CachePair, behind_proxy: list[Flask]) -> Walk:
    secured_app = SecuredApp(pair.app)
    services_of(behind_proxy[1]).state.is_secured = True
    return Walk(secured_app, pair)


@pytest.mark.timeout(600)
def test_a_cache_hit_equals_the_uncached_response_after_each_change(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert walk.go() >= {200, 304, 401, 403}
    require_hits(walk)
    secured_app, users = walk.secured_app, walk.users

    # Writes.
    assert secured_app.admin.patch(f"/users/{users['bob']['id']}", {"name": "Robert"}).status_code == 200
    assert (
        secured_app.admin.patch(f"/users/{users['viola']['id']}", {"attributes": {"of": "others"}}).status_code == 200
    )
    secured_app.create_user(username="new")
    walk.go(again=True)

    # Roles: one is raised, one lowered, and two change places.
    for name, role in {"vera": "editor", "ada": "member", "eve": "viewer", "bob": "viewer"}.items():
        assert secured_app.admin.patch(f"/users/{users[name]['id']}", {"role": role}).status_code == 200
    walk.go(again=True)

    # The end of tokens and users.
    assert secured_app.admin.delete(f"/tokens/{walk.tokens['second of root']['id']}").status_code == 204
    assert secured_app.admin.patch(f"/users/{users['bea']['id']}", {"active": False}).status_code == 200
    assert secured_app.admin.delete(f"/users/{users['viola']['id']}").status_code == 204
    walk.hits.clear()
    assert walk.go(again=True) >= {200, 401, 403}
    assert not {"second of root", "bea", "viola"} & {name for name, _ in walk.hits}
    assert ("lasting", "users.list_users") in walk.hits

    # Expiry, by the clock.
    later = SimpleNamespace(time=lambda: time.time() + 2 * 86_400, monotonic=time.monotonic)
    monkeypatch.setattr(tokens, "time", later)
    walk.hits.clear()
    walk.go(again=True)
    assert "lasting" not in {name for name, _ in walk.hits}


def require_hits(walk: Walk) -> None:
    """Only those who come by token, and only where a view has opted in; members only where they are meant."""
    assert {endpoint for _, endpoint in walk.hits} == CACHED_ROUTES
    assert {name for name, _ in walk.hits} <= walk.tokens.keys()
    lists = {name for name, endpoint in walk.hits if endpoint == "users.list_users"}
    assert lists == walk.tokens.keys() - {"bob", "bea", "member of ada", "member of root"}
    assert {name for name, endpoint in walk.hits if endpoint == "users.get"} == lists | {"bob"}
    # A token with a lower role than its user may not act as the user.
    own = walk.tokens.keys() - {"viewer of ada", "member of ada", "member of root"}
    assert {name for name, endpoint in walk.hits if endpoint == "me.get"} == own


@pytest.mark.parametrize("what", ["one user", "oneself", "a page"])
def test_a_user_the_own_record_and_a_page_are_cached(walk: Walk, database: psycopg.Connection[Any], what: str) -> None:
    """An internal change by SQL, which invalidates nothing, shows which responses are cached."""
    bob, token = walk.users["bob"]["id"], walk.tokens["bob" if what == "oneself" else "root"]["token"]
    path = {"one user": f"/api/users/{bob}", "oneself": "/api/me", "a page": "/api/users?q=bob"}[what]
    before = walk.pair.cached(path, token).body
    assert b'"Bob"' in before
    database.execute("SET fullstack_app.internal = 'yes'")
    database.execute("UPDATE users SET name = 'Behind' WHERE id = %s", [bob])
    assert walk.pair.cached(path, token).body == before
    assert b'"Behind"' in walk.pair.uncached(path, token).body


def test_two_tokens_of_one_role_share_a_response_and_actors_of_other_roles_do_not(
    walk: Walk, database: psycopg.Connection[Any]
) -> None:
    path = f"/api/users/{walk.users['bob']['id']}"
    # Each token is cached before.
    for token in walk.tokens.values():
        walk.pair.cached("/api/session", token["token"])
    old = walk.pair.cached(path, walk.tokens["root"]["token"]).body
    database.execute("SET fullstack_app.internal = 'yes'")
    database.execute("UPDATE users SET name = 'Behind' WHERE id = %s", [walk.users["bob"]["id"]])
    assert walk.pair.cached(path, walk.tokens["second of root"]["token"]).body == old
    for name in ("ada", "vera", "bob"):
        assert b'"Behind"' in walk.pair.cached(path, walk.tokens[name]["token"]).body
    for name in ("bea", "member of root", "member of ada"):
        assert walk.pair.cached(path, walk.tokens[name]["token"]).status[:3] == "403"


def test_no_response_from_setup_mode_is_served_when_the_service_is_secured(pair: CachePair) -> None:
    """In setup mode, responses do not depend on the token."""
    anonymous = UserClient(pair.app, {}, {})
    bob = anonymous.create_user(username="bob")
    token = anonymous.post("/tokens", {"name": "t", "user_id": bob["id"], "role": "member"}).json["token"]
    other = anonymous.create_user(username="other")
    paths = ["/api/users", f"/api/users/{other['id']}", f"/api/users/{bob['id']}", "/api/me"]
    for path in paths:
        assert not pair.is_hit(path, token)
    assert [pair.cached(path, token).status[:3] for path in paths] == ["200"] * 4
    anonymous.create_user(username="root", role="admin", password=PASSWORD)
    for _ in range(2):
        assert [pair.cached(path, token).status[:3] for path in paths] == ["403", "403", "200", "200"]


def test_large_responses_head_requests_and_similar_addresses_are_served_correctly(walk: Walk) -> None:
    """A large response, a HEAD, and addresses that differ in a blank or an escape."""
    token = walk.tokens["root"]["token"]
    large = walk.secured_app.create_user(username="large", attributes={"text": "x" * 16_000})
    path = f"/api/users/{large['id']}"
    for one in (
        path,
        f"{path}?",
        path.replace("-", "%2D"),
        "/api/users?q=large",
        "/api/users?q=large&",
        "/api/users?q=l",
    ):
        wanted = walk.pair.uncached(one, token)
        for _ in range(2):
            assert walk.pair.cached(one, token).anonymous == wanted.anonymous, one
    head = walk.pair.cached(path, token, method="HEAD")
    assert (head.status, head.body) == ("200 OK", b"")
    assert walk.pair.cached(path, token).body == walk.pair.uncached(path, token).body
