"""The express lane answers what Flask answers, byte for byte, and leaves to it whatever is not plain."""

import hashlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from browsing import form_of
from door import SORTS
from flask import Flask
from people import PASSWORD, House, Person
from running import Service
from sqlalchemy import event
from werkzeug.test import create_environ

from app.infra.postgres import DeadlineConnection, Statement
from app.infra.shared import Phase
from app.services import bulk
from app.services.bulk import Chosen
from app.services.history import Caller
from app.services.tokens import Uses
from app.web import watching
from app.web.access import COOKIE

FOR_EVER = 1 << 62


@dataclass(frozen=True)
class Given:
    """An answer as the server would send it."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def request_id(self) -> str:
        (found,) = [value for name, value in self.headers if name == "X-Request-ID"]
        return found

    @property
    def anonymous(self) -> tuple[str, list[tuple[str, str]], bytes]:
        """All but the id of the request, in its place."""
        hidden = [(name, "" if name == "X-Request-ID" else value) for name, value in self.headers]
        return self.status, hidden, self.body.replace(self.request_id.encode(), b"")


@dataclass
class Lanes:
    """Both ways into an application."""

    app: Flask
    entered: int = 0
    """How often Flask was."""

    def __post_init__(self) -> None:
        self.express: Any = self.app.wsgi_app
        self._flask = self.express._rest
        self.express._rest = self._enter

    def _enter(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.entered += 1
        return self._flask(environ, start_response)

    def close(self) -> None:
        self.express._rest = self._flask

    def fast(self, path: str, token: str | None = None, **kwargs: Any) -> Given:
        """Through the express lane, which may leave it to Flask."""
        return given(self.express, path, token, **kwargs)

    def slow(self, path: str, token: str | None = None, **kwargs: Any) -> Given:
        """Through Flask alone."""
        return given(self._flask, path, token, **kwargs)

    def is_fast(self, path: str, token: str | None = None, **kwargs: Any) -> bool:
        """Whether the lane answers by itself, once it knows."""
        for _ in range(3):
            before = self.entered
            self.fast(path, token, **kwargs)
        return self.entered == before


def given(way: Callable[..., Any], path: str, token: str | None = None, **kwargs: Any) -> Given:
    kwargs.setdefault("headers", {})
    if token is not None:
        kwargs["headers"] = {"Authorization": f"Bearer {token}", **kwargs["headers"]}
    begun: list[Any] = []
    body = way(create_environ(path, **kwargs), lambda status, headers, *_: begun.append((status, list(headers))))
    return Given(*begun[-1], b"".join(body))


@pytest.fixture(scope="module")
def own(make_app: Callable[..., Flask]) -> Flask:
    """An application whose memory may be used."""
    return make_app()


@pytest.fixture
def people(own: Flask, empty: Callable[[], None]) -> House:  # noqa: ARG001 - it is called for its effect
    """A closed service."""
    state = own.extensions["fullstack"].state
    state.lease[0], state.closed, state.phase = FOR_EVER, False, Phase.UNMANAGED
    state.touch_all()
    return House(own)


@pytest.fixture
def lanes(people: House) -> Iterator[Lanes]:
    made = Lanes(people.app)
    yield made
    made.close()


@pytest.fixture
def asked(own: Flask, commands: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What PostgreSQL and Redis are asked from now on."""
    engine, send = own.extensions["fullstack"].engine, DeadlineConnection.ask

    def asking(connection: DeadlineConnection, statement: Statement, values: Sequence[bytes | None]) -> Any:
        commands.append(statement.sql)
        return send(connection, statement, values)

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        commands.append(statement)

    monkeypatch.setattr(DeadlineConnection, "ask", asking)
    event.listen(engine, "before_cursor_execute", note)
    yield commands
    event.remove(engine, "before_cursor_execute", note)


@dataclass
class Log:
    """What would be logged."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def is_enabled_for(self, _: int) -> bool:
        return True

    def log(self, level: int, event: str, **values: Any) -> None:
        self.lines.append({"level": level, "event": event, **values})


@dataclass
class Crowd:
    """One person of each kind, a token of each kind for them, and paths."""

    house: House
    tokens: dict[str, str]
    ids: dict[str, str]

    @property
    def paths(self) -> list[str]:
        one = [f"{base}/users/{user_id}" for base in ("/api", "") for user_id in self.ids.values()]
        ada = self.ids["ada"]
        odd = [
            f"/api/users/{ada.upper()}",
            f"/api/users/{ada.replace('-', '')}",
            f"/api/users/{{{ada}}}",
            f"/api/users/urn:uuid:{ada}",
            f"/api/users/{ada}/",
            f"/api/users//{ada}",
            f"//api/users/{ada}",
            f"/api/users/{ada}x",
            f"/api/users/{ada[:-1]}é",
            f"/api/users/{ada[:-1]}",
            f"/api/users/{'x' * 36}",
            f"/api/users/{ada}/history",
            f"/api/users/{ada}?",
            f"/api/users/{ada}?x=1",
            f"/API/users/{ada}",
            f"/api/tokens/{ada}",
            f"/people/{ada}",
        ]
        return [*one, *odd, "/api/me", "/me", "/api/me/", "/api/me?x", "/api/me?", "/api/session"]


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


@pytest.fixture
def crowd(people: House, database: psycopg.Connection[Any]) -> Crowd:
    """People and tokens of all kinds."""
    users = {
        "ada": people.make(
            "editor", username="ada", name='Ada \\ "Ä" 田中 \u007f'.replace("\u007f", ""), attributes={"team": "blue"}
        ),
        "bob": people.make("member", username="bob", attributes={"x": [1e20, -0.0, "\u2028"]}),
        "vera": people.make("viewer", username="vera"),
        "gone": people.make("member", username="gone"),
        "off": people.make("viewer", username="off"),
        "lowered": people.make("editor", username="lowered"),
    }
    tokens = {name: people.token(user)["token"] for name, user in users.items()}
    tokens["root"] = people.token(people.admin.user)["token"]
    tokens["viewer of ada"] = people.token(users["ada"], "viewer")["token"]
    tokens["member of ada"] = people.token(users["ada"], "member")["token"]
    tokens["member of root"] = people.token(people.admin.user, "member")["token"]
    revoked, expired = people.token(users["ada"]), people.token(users["ada"])
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    tokens |= {
        "revoked": revoked["token"],
        "expired": expired["token"],
        "lasting": people.token(users["ada"], expires_at=soon)["token"],
        "damaged": tokens["ada"][:-1] + ("x" if tokens["ada"][-1] != "x" else "y"),
        "empty": "",
        "spaced": f"  {tokens['ada']} ",
        "nonsense": "é\x7f",
    }
    people.admin.delete(f"/tokens/{revoked['id']}")
    database.execute("UPDATE tokens SET expires_at = now() WHERE id = %s", [expired["id"]])
    people.admin.delete(f"/users/{users['gone']['id']}")
    people.admin.patch(f"/users/{users['off']['id']}", {"active": False})
    people.admin.patch(f"/users/{users['lowered']['id']}", {"role": "member"})
    ids = {name: user["id"] for name, user in users.items()}
    return Crowd(people, tokens, {**ids, "root": people.admin.id, "nobody": str(uuid.uuid4())})


def require_same(lanes: Lanes, path: str, token: str | None = None, **kwargs: Any) -> Given:
    """Both ways, the first one before anything is known of it, then when it may be."""
    first = lanes.fast(path, token, **kwargs)
    slow = lanes.slow(path, token, **kwargs)
    again = [lanes.fast(path, token, **kwargs) for _ in range(2)]
    assert {str(one.anonymous) for one in (first, *again)} == {str(slow.anonymous)}, path
    sent = kwargs.get("headers", {}).get("X-Request-ID")
    ids = [one.request_id for one in (first, slow, *again)]
    assert len(set(ids)) == (1 if slow.request_id == sent else 4)
    return slow


def test_both_lanes_answer_the_same_to_everybody_about_everybody(lanes: Lanes, crowd: Crowd) -> None:
    statuses = set()
    for path, token in itertools.product(crowd.paths, crowd.tokens.values()):
        statuses.add(require_same(lanes, path, token).status[:3])
    assert statuses == {"200", "302", "400", "401", "403", "404", "405"}


@pytest.mark.parametrize("base", ["/api/users", "/users"])
def test_both_lanes_answer_the_same_pages(lanes: Lanes, crowd: Crowd, base: str) -> None:
    statuses = set()
    for query in QUERIES:
        for name in ("root", "vera", "ada", "viewer of ada", "bob", "member of ada", "revoked", "off", "lowered"):
            statuses.add(require_same(lanes, f"{base}?{query}" if query else base, crowd.tokens[name]).status[:3])
    assert statuses == {"200", "400", "401", "403", "422"}


def test_both_lanes_walk_the_same_pages_by_their_links(lanes: Lanes, crowd: Crowd) -> None:
    path, walked = "/api/users?limit=2&sort=-username", 0
    while path:
        answer = require_same(lanes, path, crowd.tokens["root"])
        links = dict(
            reversed(value.replace("<", "").replace(">", "").split("; "))
            for name, value in answer.headers
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
        {"Cookie": f"{COOKIE}=nonsense"},
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
def test_both_lanes_answer_the_same_to_any_header(
    lanes: Lanes, crowd: Crowd, method: str, headers: dict[str, str]
) -> None:
    for path in (f"/api/users/{crowd.ids['bob']}", "/api/me", "/users?limit=2"):
        require_same(lanes, path, crowd.tokens["ada"], headers=headers, method=method)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["localhost", "a.example", "b.example:81"])
def test_both_lanes_answer_the_same_under_any_address(lanes: Lanes, crowd: Crowd, scheme: str, host: str) -> None:
    for others in ("http://other.example", f"{scheme}://{host}"):
        for path in (f"/api/users/{crowd.ids['bob']}", "/api/me", "/users?limit=2", "/api/users"):
            answer = require_same(lanes, path, crowd.tokens["ada"], base_url=others)
    assert all(f"<{scheme}://{host}/" in value for name, value in answer.headers if name == "Link")


@pytest.mark.parametrize(
    "authorization",
    ["bearer {}", "BEARER {}", "Bearer  {}", "Bearer {} ", "Bearer\t{}", "Bearer", "Bearer ", "{}", "Basic {}",
     "Token {}", "Bearer {},Bearer {}", " Bearer {}", "", "Bearer \u00e9", "Bearer {}\u00a0", "B\u00e9arer {}"],
)  # fmt: skip
def test_both_lanes_read_the_header_alike(lanes: Lanes, crowd: Crowd, authorization: str) -> None:
    headers = {"Authorization": authorization.format(crowd.tokens["ada"], crowd.tokens["bob"])}
    for path in (f"/api/users/{crowd.ids['bob']}", "/api/me", "/users?limit=2"):
        require_same(lanes, path, headers=headers)


def test_a_header_that_no_server_should_give_is_answered_as_flask_does(lanes: Lanes, crowd: Crowd) -> None:
    """PEP 3333 wants Latin-1; some pass on what they read as UTF-8."""
    path = f"/api/users/{crowd.ids['bob']}"
    assert require_same(lanes, path, environ_overrides={"HTTP_AUTHORIZATION": "Bearer 田中"}).status[:3] == "401"


def test_bytes_that_are_no_text_do_no_harm(serve: Callable[..., Service], crowd: Crowd) -> None:
    """What the real server makes of them."""
    service = serve(LOG_LEVEL="warning", WORKERS="1")
    path, good = f"/api/users/{crowd.ids['bob']}", f"Bearer {crowd.tokens['ada']}".encode()
    for value in (b"Bearer \xff\xfe", "Bearer 田中".encode(), good + "é".encode(), good + b"\xe9"):
        assert service.get(path, headers={"Authorization": value}).status in (400, 401)
    assert service.get(path, headers={"Authorization": good}).status == 200
    assert [line for line in service.events if line["event"] not in ("lost", "back")] == []


@pytest.mark.parametrize("who", ["root", "ada", "vera", "lasting"])
def test_the_lane_answers_from_memory_and_flask_is_not_entered(
    lanes: Lanes, crowd: Crowd, asked: list[str], who: str
) -> None:
    paths = [
        f"/api/users/{crowd.ids['bob']}",
        f"/users/{crowd.ids['root']}",
        "/api/me",
        "/me",
        "/api/users",
        "/users?q=a",
    ]
    for path in paths:
        assert lanes.is_fast(path, crowd.tokens[who])
    before, known = lanes.entered, asked.copy()
    for path in paths * 3:
        assert lanes.fast(path, crowd.tokens[who]).status == "200 OK"
    assert (lanes.entered, asked) == (before, known)


@pytest.mark.parametrize(
    ("who", "path", "is_fast"),
    [
        ("bob", "/api/users/{bob}", True),
        ("bob", "/api/me", True),
        ("bob", "/api/users/{ada}", False),
        ("bob", "/api/users", False),
        ("viewer of ada", "/api/users/{bob}", True),
        ("viewer of ada", "/api/users", True),
        ("viewer of ada", "/api/me", False),
        ("member of ada", "/api/users/{ada}", False),
        ("member of root", "/api/users/{root}", False),
        ("root", "/api/users/{gone}", False),
        ("root", "/api/users/{nobody}", False),
        ("root", "/api/users/{bob}?", True),
        ("root", "/api/users/{bob}?x=1", False),
        ("root", "/api/users?limit=x", False),
        ("root", "/api/tokens", False),
        ("revoked", "/api/me", False),
        ("expired", "/api/me", False),
        ("off", "/api/me", False),
    ],
)
def test_the_lane_takes_what_is_plain_and_leaves_what_is_not(
    lanes: Lanes, crowd: Crowd, who: str, path: str, is_fast: bool
) -> None:
    assert lanes.is_fast(path.format(**crowd.ids), crowd.tokens[who]) == is_fast


def test_whoever_asks_without_a_token_is_left_to_flask(lanes: Lanes, crowd: Crowd) -> None:
    session = {"Cookie": crowd.house.admin.headers["Cookie"]}
    for path in (f"/api/users/{crowd.ids['bob']}", "/api/me", "/api/users"):
        assert not lanes.is_fast(path)
        assert not lanes.is_fast(path, headers=session)
        assert require_same(lanes, path, headers=session).status == "200 OK"
        assert require_same(lanes, path, crowd.tokens["ada"], headers=session).status[:3] == "401"


@pytest.mark.parametrize("what", ["lease", "lease in the past", "starting", "no memory", "no cache"])
def test_while_nothing_may_be_remembered_all_is_left_to_flask(
    lanes: Lanes, crowd: Crowd, make_app: Callable[..., Flask], what: str
) -> None:
    state, path = crowd.house.app.extensions["fullstack"].state, f"/api/users/{crowd.ids['bob']}"
    assert lanes.is_fast(path, crowd.tokens["ada"])
    if what == "starting":
        state.phase = Phase.STARTING
    elif what.startswith("lease"):
        state.lease[0] = 0 if what == "lease" else time.monotonic_ns() - 1
    else:
        app = make_app(**{"no memory": {"cache_memory_mib": 0}, "no cache": {"cache_ttl_s": 0}}[what])
        app.extensions["fullstack"].state.lease[0] = FOR_EVER
        lanes = Lanes(app)
    for each in (path, "/api/me", "/api/users"):
        assert not lanes.is_fast(each, crowd.tokens["ada"])
        assert require_same(lanes, each, crowd.tokens["ada"]).status[:3] == ("503" if what == "starting" else "200")
    state.phase = Phase.SERVING
    state.lease[0] = FOR_EVER
    assert crowd.house.by_session(crowd.house.admin.user).get("/users").status_code == 200


@pytest.mark.parametrize("public", [False, True])
def test_in_a_service_without_administrator_both_lanes_answer_the_same(
    make_app: Callable[..., Flask],
    empty: Callable[[], None],  # noqa: ARG001 - called for its effect
    public: bool,
) -> None:
    """Open to all on this machine; closed to others from the start, and then tokens count."""
    maker = make_app()
    nobody = Person(maker, {}, {})
    user, viewer = nobody.make(username="bob"), nobody.make(username="vera", role="viewer")
    body = {"name": "t", "user_id": viewer["id"], "role": "viewer"}
    token = nobody.post("/tokens", body).json["token"]
    app = make_app(bind_address="0.0.0.0") if public else make_app()  # noqa: S104 - nothing listens
    app.extensions["fullstack"].state.lease[0] = FOR_EVER
    lanes = Lanes(app)
    for path in (f"/api/users/{user['id']}", "/api/me", "/api/users?limit=1"):
        for one in (None, token, "nonsense"):
            require_same(lanes, path, one)
            require_same(lanes, path, one, headers={"Host": "elsewhere.example"})
        assert lanes.is_fast(path, token) == public
    # A token is of no account in an open service, whose guests may do all.
    assert lanes.slow("/api/tokens", token).status[:3] == ("403" if public else "200")


def test_behind_a_trusted_proxy_links_are_those_of_who_asks(
    make_app: Callable[..., Flask], people: House, crowd: Crowd
) -> None:
    app = make_app(trusted_proxies="10.0.0.0/8")
    app.extensions["fullstack"].state.lease[0] = FOR_EVER
    for host, scheme in itertools.product(["a.example", "b.example"] * 2, ["http", "https"]):
        headers = {"X-Forwarded-Host": host, "X-Forwarded-Proto": scheme, "X-Forwarded-For": "192.0.2.1"}
        answer = given(
            app.wsgi_app,
            "/api/users?limit=2",
            crowd.tokens["root"],
            headers=headers,
            environ_base={"REMOTE_ADDR": "10.0.0.1"},
        )
        links = [value for name, value in answer.headers if name == "Link"]
        assert links
        assert all(value.startswith(f"<{scheme}://{host}/") for value in links), links
    assert people.admin.get("/users").status_code == 200


def _save(house: House, user: dict[str, Any]) -> Any:
    browser, path = house.app.test_client(), f"/people/{user['id']}"
    browser.set_cookie(COOKIE, house.secret(house.admin.user))
    answer = browser.post(path, data=form_of(browser, path, name="New"), headers={"Origin": "http://localhost"})
    assert answer.status_code == 303, answer.text
    return answer


def _many(house: House, user: dict[str, Any]) -> None:
    with house.app.app_context():
        bulk.apply("deactivate", Chosen(ids=[uuid.UUID(user["id"])]), Caller())


def _command(house: House, user: dict[str, Any]) -> None:
    runner = house.app.test_cli_runner()
    made = runner.invoke(args=["users", "password", user["username"], "--password-stdin"], input=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output


WRITES: dict[str, Callable[[House, dict[str, Any]], Any]] = {
    "PATCH": lambda house, user: house.admin.patch(f"/users/{user['id']}", {"name": "New"}),
    "PATCH of the role": lambda house, user: house.admin.patch(f"/users/{user['id']}", {"role": "viewer"}),
    "PUT": lambda house, user: house.admin.put(f"/users/{user['id']}", {"username": "bob", "name": "New"}),
    "DELETE": lambda house, user: house.admin.delete(f"/users/{user['id']}"),
    "purge": lambda house, user: house.admin.delete(f"/users/{user['id']}?purge=true"),
    "oneself": lambda house, user: house.by_token(user).patch("/me", {"name": "New"}),
    "the console": _save,
    "many": _many,
    "the command line": _command,
}


@pytest.mark.parametrize("door", WRITES)
def test_after_a_write_through_any_door_the_next_answer_is_new(lanes: Lanes, people: House, door: str) -> None:
    user, token = people.make(username="bob"), people.token(people.admin.user)["token"]
    paths = [
        f"/api/users/{user['id']}",
        f"/users/{user['id']}",
        "/api/users",
        "/users?q=bob",
        "/users?limit=1&sort=-name",
    ]
    own = people.token(user)["token"]
    for path in paths:
        assert lanes.is_fast(path, token)
    assert lanes.is_fast("/api/me", own)
    before = {path: lanes.fast(path, token).body for path in paths}
    mine = lanes.fast("/api/me", own).body
    WRITES[door](people, user)
    for path in paths[:4]:
        assert lanes.fast(path, token).body != before[path]
    assert lanes.fast("/api/me", own).body != mine
    for path in paths:
        require_same(lanes, path, token)
    require_same(lanes, "/api/me", own)


def test_who_is_new_or_back_is_in_the_next_page(lanes: Lanes, people: House) -> None:
    token = people.token(people.admin.user)["token"]
    assert lanes.is_fast("/api/users", token)
    user = people.make(username="bob")
    assert b'"bob"' in lanes.fast("/api/users", token).body
    path = f"/api/users/{user['id']}"
    people.admin.delete(f"/users/{user['id']}")
    assert lanes.fast(path, token).status[:3] == "404"
    people.admin.post(f"/users/{user['id']}/restore")
    assert b'"version":3' in lanes.fast(path, token).body
    assert b'"version":3' in lanes.fast("/api/users", token).body


ENDS: dict[str, tuple[Callable[[House, dict[str, Any], dict[str, Any]], Any], str]] = {
    "revoked": (lambda house, _, token: house.admin.delete(f"/tokens/{token['id']}"), "401"),
    "inactive": (lambda house, user, _: house.admin.patch(f"/users/{user['id']}", {"active": False}), "401"),
    "trash": (lambda house, user, _: house.admin.delete(f"/users/{user['id']}"), "401"),
    "purged": (lambda house, user, _: house.admin.delete(f"/users/{user['id']}?purge=true"), "401"),
    "lowered": (lambda house, user, _: house.admin.patch(f"/users/{user['id']}", {"role": "member"}), "403"),
    "many": (lambda house, user, _: _many(house, user), "401"),
    "command": (
        lambda house, _, token: house.app.test_cli_runner().invoke(args=["tokens", "revoke", token["id"]]), "401",
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_right_counts_at_the_next_request(lanes: Lanes, people: House, end: str) -> None:
    user, other = people.make("viewer", username="vera"), people.make(username="bob")
    token = people.token(user)
    paths = [f"/api/users/{other['id']}", "/api/users"]
    for path in paths:
        assert lanes.is_fast(path, token["token"])
    how, status = ENDS[end]
    how(people, user, token)
    for path in paths:
        assert lanes.fast(path, token["token"]).status[:3] == status
        require_same(lanes, path, token["token"])
    assert lanes.fast("/api/me", token["token"]).status[:3] == ("200" if end == "lowered" else "401")


def test_a_role_that_was_raised_is_whole_at_the_next_request(lanes: Lanes, people: House) -> None:
    """A token of a viewer who becomes an editor stays a viewer's, and may act for its user no more."""
    user = people.make("viewer", username="vera")
    token = people.token(user)["token"]
    assert lanes.is_fast("/api/me", token)
    people.admin.patch(f"/users/{user['id']}", {"role": "editor"})
    assert lanes.fast("/api/me", token).status[:3] == "403"
    people.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    assert lanes.is_fast("/api/me", token)


def test_a_token_is_over_when_its_time_has_come(lanes: Lanes, people: House) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=1.5)
    token = people.token(people.make("viewer"), expires_at=ends_at.isoformat())["token"]
    assert lanes.is_fast("/api/users", token)
    time.sleep(max(0, (ends_at - datetime.now(UTC)).total_seconds()))
    assert require_same(lanes, "/api/users", token).status[:3] == "401"


def test_what_a_second_host_finds_done_it_shows_as_done(
    make_app: Callable[..., Flask], people: House, lanes: Lanes
) -> None:
    """A change that changes nothing is answered with what another host did; what is read next is no older."""
    user, token = people.make(username="bob"), people.token(people.admin.user)["token"]
    paths = [f"/api/users/{user['id']}", "/api/users"]
    for path in paths:
        assert lanes.is_fast(path, token)
    # Of which nobody tells this one.
    elsewhere = Person(make_app(), {"Authorization": f"Bearer {token}"}, {})
    done = elsewhere.patch(f"/users/{user['id']}", {"name": "New"})
    assert b'"version":1' in lanes.fast(paths[0], token).body, "it was told, and this test shows nothing"
    again = people.admin.patch(f"/users/{user['id']}", {"name": "New"})
    assert again.data == done.data
    assert lanes.fast(paths[0], token).body == done.data
    assert done.data in lanes.fast(paths[1], token).body


def test_the_line_that_is_logged_is_the_same(lanes: Lanes, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(watching, "log", log)
    bob = crowd.ids["bob"]
    for path in (f"/api/users/{bob}", f"/users/{bob}", "/api/me", "/me", "/api/users?q=a", "/users", "/users?limit=x"):
        is_fast = lanes.is_fast(path, crowd.tokens["root"])
        assert is_fast == ("x" not in path)
        log.lines.clear()
        headers = {"X-Request-ID": "sane"}
        for way in (lanes.fast, lanes.slow):
            way(path, crowd.tokens["root"], headers=headers)
        fast, slow = log.lines
        assert 0 <= fast.pop("ms") < 1000
        assert 0 <= slow.pop("ms") < 1000
        assert fast == slow
        assert slow["route"] is not None
        assert (slow["method"], slow["status"], slow["request_id"]) == ("GET", 200 if is_fast else 422, "sane")


def test_a_line_names_the_id_that_was_sent_back(lanes: Lanes, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    assert lanes.is_fast("/api/me", crowd.tokens["root"])
    monkeypatch.setattr(watching, "log", log)
    given_ids = [
        lanes.fast("/api/me", crowd.tokens["root"], headers={"X-Request-ID": "in sane"}).request_id for _ in "ab"
    ]
    assert [line["request_id"] for line in log.lines] == given_ids


def test_a_note_of_a_tokens_use_is_made_each_minute(
    lanes: Lanes, people: House, database: psycopg.Connection[Any]
) -> None:
    token = people.token(people.make("viewer"))
    uses = people.app.extensions["fullstack"].part(Uses)

    def noted() -> Any:
        return database.execute("SELECT last_used_at FROM tokens WHERE id = %s", [token["id"]]).fetchone()[0]

    assert noted() is None
    assert lanes.is_fast("/api/users", token["token"])
    first = noted()
    assert first is not None
    for _ in range(5):
        lanes.fast("/api/users", token["token"])
    assert noted() == first
    # A minute later, by both clocks.
    uses._noted[token["id"]] -= 61
    database.execute("UPDATE tokens SET last_used_at = last_used_at - interval '61 seconds'")
    before = lanes.entered
    lanes.fast("/api/users", token["token"])
    assert lanes.entered == before + 1
    assert noted() > first - timedelta(seconds=61)
    assert noted() >= first
    assert lanes.is_fast("/api/users", token["token"])


def test_no_secret_lies_in_memory(lanes: Lanes, crowd: Crowd) -> None:
    secret = crowd.tokens["root"]
    assert lanes.is_fast("/api/me", secret)
    memory = crowd.house.app.extensions["fullstack"].answers.memory
    kept = repr([(key, entry) for key, entry in memory._entries.items()])
    assert secret not in kept
    assert repr(hashlib.sha256(f"Bearer {secret}".encode()).digest()) in kept


def test_what_goes_wrong_in_the_lane_is_left_to_flask(
    lanes: Lanes, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/users/{crowd.ids['bob']}"
    assert lanes.is_fast(path, crowd.tokens["root"])

    def fail(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(lanes.express, "_document", fail)
    before = lanes.entered
    assert lanes.fast(path, crowd.tokens["root"]).status == "200 OK"
    assert lanes.entered == before + 1


def test_ids_differ_from_request_to_request(lanes: Lanes, crowd: Crowd) -> None:
    assert lanes.is_fast("/api/users", crowd.tokens["root"])
    assert len({lanes.fast("/api/users", crowd.tokens["root"]).request_id for _ in range(50)}) == 50


def test_over_a_socket_both_lanes_are_one_service(serve: Callable[..., Service], crowd: Crowd) -> None:
    """With the launcher's own lease, from a worker of its own."""
    service = serve(WORKERS="1", LOG_LEVEL="info")
    path, headers = f"/api/users/{crowd.ids['bob']}", {"Authorization": f"Bearer {crowd.tokens['root']}"}
    bodies = {service.get(path, headers=headers).body for _ in range(20)}
    assert len(bodies) == 1
    for number in range(20):
        made = service("PATCH", path, {"name": f"Bob {number}"}, headers)
        answer = service.get(path, headers=headers)
        assert answer.body == made.body
        assert answer.headers["ETag"] == made.headers["ETag"]
