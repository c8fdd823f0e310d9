"""Permissions: every route, requested by every role, by session and by token."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.http.access import PUBLIC, RULES, actor
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient

# As the table under "Who may" in the docs, but route by route. `self` is a member on the own record, all
# others act on another member. {gone} is in the trash, {session} and {token} are of the user concerned.
TABLE = """
                                          none    self  member  viewer  editor  admin
GET     /api/users                        401     403   403     200     200     200
POST    /api/users                        401     403   403     403     201     201
GET     /api/users/{id}                   401     200   403     200     200     200
PUT     /api/users/{id}                   401     200   403     403     200     200
PATCH   /api/users/{id}                   401     200   403     403     200     200
DELETE  /api/users/{id}                   401     403   403     403     204     204
DELETE  /api/users/{id}?purge=true        401     403   403     403     403     204
POST    /api/users/{gone}/restore         401     403   403     403     200     200
GET     /api/users/{id}/history           401     403   403     200     200     200
GET     /api/users/{id}/sessions          401     200   403     403     403     200
DELETE  /api/users/{id}/sessions          401     204   403     403     403     204
DELETE  /api/users/{id}/sessions/{session}  401   204   403     403     403     204
POST    /api/users/{id}/unlock            401     403   403     403     403     204
GET     /api/tokens                       401     403   403     403     403     200
POST    /api/tokens                       401     403   403     403     403     201
DELETE  /api/tokens/{token}               401     403   403     403     403     204
GET     /api/me                           401     200   200     200     200     200
PATCH   /api/me                           401     200   200     200     200     200
PUT     /api/me/password                  401     204   204     204     204     204
GET     /api/me/sessions                  401     200   200     200     200     200
DELETE  /api/me/sessions                  401     204   204     204     204     204
DELETE  /api/me/sessions/{own}            401     204   204     204     204     204
POST    /api/session                      201     201   201     201     201     201
GET     /api/session                      401     200   200     200     200     200
DELETE  /api/session                      401     204   204     204     204     204
GET     /api/health                       200     200   200     200     200     200
GET     /api/health/live                  200     200   200     200     200     200
GET     /api/health/ready                 200     200   200     200     200     200
GET     /api/openapi.json                 200     200   200     200     200     200
GET     /api/docs                         200     200   200     200     200     200
GET     /api/docs/start.js                200     200   200     200     200     200
GET     /                                 302     302   302     302     302     302
POST    /first                            404     404   404     404     404     404
GET     /assets/{digest}/console.css      200     200   200     200     200     200
POST    /language                         303     303   303     303     303     303
GET     /sign-in                          200     200   200     200     200     200
POST    /sign-in                          422     422   422     422     422     422
POST    /sign-out                         401     303   303     303     303     303
GET     /profile                          302     302   302     302     302     302
GET     /password                         302     200   200     200     200     200
POST    /password                         401     422   422     422     422     422
GET     /overview                         302     302   302     200     200     200
GET     /overview/health                  200     200   200     200     200     200
GET     /api-tokens                       302     403   403     403     403     200
POST    /api-tokens                       401     403   403     403     403     422
POST    /api-tokens/{token}/revoke        401     403   403     403     403     303
GET     /people                           302     403   403     200     200     200
POST    /people/bulk                      401     403   403     403     422     422
GET     /people/new                       302     403   403     403     200     200
POST    /people/new                       401     403   403     403     422     422
GET     /people/{id}                      302     200   403     200     200     200
POST    /people/{id}                      401     303   403     403     303     303
POST    /people/{id}/delete               401     403   403     403     303     303
POST    /people/{gone}/restore            401     403   403     403     303     303
POST    /people/{id}/purge                401     403   403     403     403     200
POST    /people/{id}/unlock               401     403   403     403     403     303
POST    /people/{id}/sessions/{session}/end  401  303   403     403     403     303
GET     /nowhere                          404     404   404     404     404     404
"""
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/users"): {"username": "new-{name}"},
    ("PUT", "/api/users/{id}"): {"username": "{name}", "name": "New"},
    ("PATCH", "/api/users/{id}"): {"name": "New"},
    ("PATCH", "/api/me"): {"name": "New"},
    ("PUT", "/api/me/password"): {"current_password": PASSWORD, "new_password": "another horse battery"},
    ("POST", "/api/session"): {"username": "root", "password": PASSWORD},
    ("POST", "/api/tokens"): {"name": "new", "role": "member"},
}


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    method: str
    path: str
    expected: dict[str, int]

    @property
    def is_public(self) -> bool:
        return self.expected["none"] not in (401, 302) or self.path == "/"

    @property
    def body(self) -> dict[str, Any]:
        return BODIES.get((self.method, self.path), {})


def read(table: str) -> list[Line]:
    header, *lines = (line.split() for line in table.strip().splitlines())
    return [Line(line[0], line[1], dict(zip(header, map(int, line[2:]), strict=True))) for line in lines]


LINES = read(TABLE)
of_each_line = pytest.mark.parametrize("line", LINES, ids=[f"{line.method} {line.path}" for line in LINES])


class RouteTester:
    """Creates the client and the target of each request, because many requests change them."""

    def __init__(self, secured_app: SecuredApp, database: psycopg.Connection[Any]) -> None:
        self.secured_app, self.database = secured_app, database
        self._numbers = itertools.count()

    def create_user(self, role: str) -> dict[str, Any]:
        """Create a user with the password hash of the administrator, so nothing is hashed."""
        user = self.secured_app.create_user(role, username=f"{role}-{next(self._numbers)}")
        self.database.execute(
            "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE username = 'root') WHERE id = %s",
            [user["id"]],
        )
        return user

    def ask(self, line: Line, client: UserClient, target: dict[str, Any]) -> int:
        """The status of a request by `client` to the route of `line`, for the user `target`."""
        path = line.path.format_map(_Ids(self, client, target))
        body = {name: value.format(name=target["username"]) for name, value in line.body.items()}
        # Of the pages all forms are sent empty: 422 and 303 say that they were let in.
        data = {"json": body} if body else {} if line.path.startswith("/api/") else {"data": {}}
        response = client.flask_client.open(path, method=line.method, headers=client.headers, **data)
        response.close()
        return response.status_code


class _Ids(dict[str, str]):
    """The ids in a path. They are created on demand."""

    def __init__(self, tester: RouteTester, client: UserClient, target: dict[str, Any]) -> None:
        super().__init__()
        self._tester, self._client, self._target = tester, client, target

    def __missing__(self, name: str) -> str:
        secured_app = self._tester.secured_app
        match name:
            case "id":
                return str(self._target["id"])
            case "gone":
                gone = self._tester.create_user("member")
                secured_app.admin.delete(f"/users/{gone['id']}")
                return str(gone["id"])
            case "token":
                return str(secured_app.token(self._target)["id"])
            case "digest":
                return "000000000000"
            case "session":
                return self._session_of(self._target)
            case _:
                return self._session_of(self._client.user)

    def _session_of(self, user: Any) -> str:
        """A session that is not the session of this request."""
        secured_app = self._tester.secured_app
        if "id" not in user:
            user = self._tester.create_user("member")
        secured_app.session_cookie(user)
        return str(secured_app.admin.get(f"/users/{user['id']}/sessions").json[0]["id"])


@pytest.fixture
def tester(secured_app: SecuredApp, database: psycopg.Connection[Any]) -> RouteTester:
    return RouteTester(secured_app, database)


@of_each_line
@pytest.mark.parametrize("kind", ["session", "token"])
def test_each_role_has_the_permissions_of_the_table(tester: RouteTester, line: Line, kind: str) -> None:
    enter = tester.secured_app.session_client if kind == "session" else tester.secured_app.token_client
    found = {"none": tester.ask(line, tester.secured_app.anonymous, tester.create_user("member"))}
    for column in ("self", "member", "viewer", "editor", "admin"):
        user = tester.create_user("member" if column == "self" else column)
        found[column] = tester.ask(line, enter(user), user if column == "self" else tester.create_user("member"))
    expected = dict(line.expected)
    if kind == "token" and line.path == "/api/me/password":
        # A token does not change how its user signs in.
        expected = {column: status if column == "none" else 403 for column, status in expected.items()}
    assert found == expected


@of_each_line
def test_an_invalid_credential_has_no_permission(tester: RouteTester, line: Line) -> None:
    """Even the former credential of an administrator."""
    over = ("expired token", "revoked token", "forged token", "inactive token")
    over += ("revoked session", "forged session", "inactive session")
    found = {state: tester.ask(line, spoilt(tester, state), tester.create_user("member")) for state in over}
    assert found == dict.fromkeys(over, line.expected["none"])


def spoilt(tester: RouteTester, state: str) -> UserClient:
    """A client with an invalid credential of an administrator."""
    secured_app, user = tester.secured_app, tester.create_user("admin")
    token, secret = secured_app.token(user), secured_app.session_cookie(user)
    match state:
        case "expired token":
            tester.database.execute("UPDATE tokens SET expires_at = now() - interval '1 second'")
        case "revoked token":
            secured_app.admin.delete(f"/tokens/{token['id']}")
        case "revoked session":
            secured_app.admin.delete(f"/users/{user['id']}/sessions")
        case "inactive token" | "inactive session":
            secured_app.admin.patch(f"/users/{user['id']}", {"active": False})
        case "forged token":
            token = {"token": secured_app.token(secured_app.admin.user)["token"][:-7] + "x" * 7}
        case "forged session":
            secret = secret[::-1]
    return secured_app.bearer_client(token["token"]) if "token" in state else secured_app.cookie_client(secret)


def test_every_route_has_a_rule_and_every_rule_a_route(app: Flask) -> None:
    endpoints = {rule.endpoint.removeprefix("root_") for rule in app.url_map.iter_rules()}
    assert endpoints - RULES.keys() == set(), "routes that no rule names"
    assert RULES.keys() - endpoints == set(), "rules that name no route"


def test_every_route_is_in_the_table(app: Flask) -> None:
    routes = {
        (method, re.sub(r"<[^>]+>", "{}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith("root_")
    }
    tried = {(line.method, re.sub(r"{[^}]+}", "{}", line.path).partition("?")[0]) for line in LINES}
    tried = {(method, path.replace("start.js", "{}").replace("console.css", "{}")) for method, path in tried}
    assert tried - routes == {("GET", "/nowhere")}
    assert routes - tried == set()


@of_each_line
def test_routes_at_the_root_have_the_permissions_of_those_below_api(tester: RouteTester, line: Line) -> None:
    user = tester.create_user("member")
    path = line.path.replace("/api/", "/", 1).format_map(_Ids(tester, tester.secured_app.anonymous, user))
    for method in (line.method, *(["HEAD"] if line.method == "GET" else [])):
        response = tester.secured_app.anonymous.flask_client.open(path or "/", method=method, json=line.body or None)
        allowed = {200, 201, 302, 303, 404, 422} if line.is_public else {line.expected["none"]}
        assert response.status_code in allowed


def test_a_route_without_a_rule_is_denied_once_the_service_is_secured(secured_app: SecuredApp, make_app: Any) -> None:
    app = make_app()
    app.add_url_rule("/guests", "guest", lambda: {"hello": "world"})
    assert app.test_client().get("/guests").status_code == 401
    for client in (secured_app.admin, secured_app.token_client(secured_app.admin.user)):
        assert app.test_client(use_cookies=False).get("/guests", headers=client.headers).status_code == 403


def test_a_public_view_has_an_actor_without_rights_once_the_service_is_secured(
    secured_app: SecuredApp, make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    monkeypatch.setitem(RULES, "guest", PUBLIC)
    app.add_url_rule("/guests", "guest", lambda: {role: actor().may(role) for role in ("viewer", "admin")})
    # The first request tells this application that the service is secured.
    assert app.test_client().get("/users").status_code == 401
    for headers in ({}, secured_app.admin.headers):
        found = app.test_client(use_cookies=False).get("/guests", headers=headers)
        assert found.json == {"viewer": False, "admin": False}
