"""Writes to one user, as requests, and the state that they leave."""

import contextlib
import http.client
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any
from urllib.parse import urlencode

import psycopg

from tests.support.secured_app import PASSWORD
from tests.support.service_process import Service

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Target:
    """The user of a race, with a token, and the credentials of an administrator."""

    username: str
    user_id: str
    token_id: str
    bearer: dict[str, str]
    admin: dict[str, str]
    browser: dict[str, str]
    origin: dict[str, str]
    """Sign-ins are limited for each address."""


Action = Callable[[Service, Target], int]
"""Sends the write, and returns the status."""


def send(service: Service, method: str, path: str, body: object, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body. A body that is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if sent is None else {"Content-Type": "application/json"}
    with contextlib.closing(connection):
        connection.request(method, path, sent, {**kind, **headers})
        response = connection.getresponse()
        return response.status, response.read()


def _by_admin(method: str, path: str, body: object = None) -> Action:
    """A write of the administrator. The path and the values of the body may name fields of the target."""

    def act(service: Service, target: Target) -> int:
        names = vars(target)
        filled = body if body is None else json.loads(Template(json.dumps(body)).safe_substitute(names))
        return send(service, method, path.format_map(names), filled, target.admin)[0]

    return act


def _by_form(action: str) -> Action:
    def act(service: Service, target: Target) -> int:
        form = urlencode({"action": action, "id": target.user_id, "expected": "1"}).encode()
        return send(service, "POST", "/people/bulk", form, target.browser)[0]

    return act


_USER = "/api/users/{user_id}"
ACTIONS: dict[str, Action] = {
    "update": _by_admin("PATCH", _USER, {"name": "Updated"}),
    "replace": _by_admin("PUT", _USER, {"username": "$username", "name": "Replaced"}),
    "change the role": _by_admin("PATCH", _USER, {"role": "viewer"}),
    "deactivate": _by_admin("PATCH", _USER, {"active": False}),
    "set a password": _by_admin("PATCH", _USER, {"password": "another horse battery"}),
    "delete": _by_admin("DELETE", _USER),
    "restore": _by_admin("POST", f"{_USER}/restore"),
    "purge": _by_admin("DELETE", f"{_USER}?purge=true"),
    "delete in bulk": _by_form("delete"),
    "deactivate in bulk": _by_form("deactivate"),
    "end sessions": _by_admin("DELETE", f"{_USER}/sessions"),
    "create a token": _by_admin("POST", "/api/tokens", {"name": "new", "role": "member", "user_id": "$user_id"}),
    "revoke the token": _by_admin("DELETE", "/api/tokens/{token_id}"),
    "update the own record": lambda service, target: send(service, "PATCH", "/api/me", {"name": "Own"}, target.bearer)[
        0
    ],
    "sign in": lambda service, target: send(
        service, "POST", "/api/session", {"username": target.username, "password": PASSWORD}, target.origin
    )[0],
}
NEEDS_SESSION = {"end sessions", "sign in", "set a password"}
"""Of a pair with these, the user has a password and a session. Each takes 50 ms of a processor."""


@dataclass(frozen=True, eq=False)
class Races:
    """Two hosts of one service, its database, and the headers of an administrator: of a token, and of a browser."""

    hosts: tuple[Service, Service]
    database: psycopg.Connection[Any]
    admin: dict[str, str]
    browser: dict[str, str]

    def make_target(self, pair: tuple[str, str]) -> Target:
        """A new user for this pair of actions; in the trash if one of them is to restore it."""
        number = next(_NUMBERS)
        username, origin = f"race-{number}", {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250}"}
        user_id = self._create("/api/users", {"username": username})["id"]
        token = self._create("/api/tokens", {"name": "race", "role": "member", "user_id": user_id})
        bearer = {"Authorization": f"Bearer {token['token']}"}
        target = Target(username, user_id, token["id"], bearer, self.admin, self.browser, origin)
        if NEEDS_SESSION & set(pair):
            self.database.execute(_COPY_PASSWORD, [user_id])
        if "end sessions" in pair:
            assert ACTIONS["sign in"](self.hosts[0], target) == 201
        if "restore" in pair:
            assert ACTIONS["delete"](self.hosts[0], target) == 204
        return target

    def state_of(self, target: Target) -> tuple[object, ...]:
        """What is left of a user: its row, history, tokens and valid sessions, without ids and times."""
        rows = [self.database.execute(query, [target.user_id]).fetchall() for query in _STATE]
        status, sessions = send(self.hosts[0], "GET", f"/api/users/{target.user_id}/sessions", None, self.admin)
        return (
            *(str(row).replace(target.username, "target") for row in rows),
            len(json.loads(sessions)) if status == 200 else None,
        )

    def _create(self, path: str, body: object) -> Any:
        status, created = send(self.hosts[0], "POST", path, body, self.admin)
        assert status == 201, created
        return json.loads(created)


_COPY_PASSWORD = """
UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE username = 'root') WHERE id = %s
"""
_STATE = (
    "SELECT name, role, active, version, session_epoch, deleted_at IS NULL FROM users WHERE id = %s",
    """
    SELECT version, action, address IS NULL,
        (SELECT array_agg(one ->> 'field') FROM json_array_elements(changes) AS one)
    FROM history WHERE user_id = %s AND action IN ('created', 'changed', 'deleted', 'restored', 'purged') ORDER BY id
    """,
    # Sign-ins and tokens make no version. Their place among concurrent changes has no meaning.
    """
    SELECT action, address IS NULL FROM history
    WHERE user_id = %s AND action NOT IN ('created', 'changed', 'deleted', 'restored', 'purged') ORDER BY 1, 2
    """,
    "SELECT name FROM tokens WHERE user_id = %s ORDER BY name",
)
