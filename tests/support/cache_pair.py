"""Compares an application with caches and one without caches, for users and tokens of each kind."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from flask import Flask, request_started
from werkzeug.test import create_environ

from tests.support.secured_app import SecuredApp


@dataclass(frozen=True)
class WsgiResponse:
    """A response as a WSGI server receives it."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def request_id(self) -> str:
        (found,) = [value for name, value in self.headers if name == "X-Request-ID"]
        return found

    @property
    def anonymous(self) -> tuple[str, list[tuple[str, str]], bytes]:
        """The response with the request id removed from headers and body."""
        hidden = [(name, "" if name == "X-Request-ID" else value) for name, value in self.headers]
        return self.status, hidden, self.body.replace(self.request_id.encode(), b"")


class CachePair:
    """An application with caches, and one without caches on the same servers."""

    def __init__(self, app: Flask, without_caches: Flask) -> None:
        self.app, self._without_caches = app, without_caches
        self.flask_requests = 0
        """The number of requests that Flask has answered in the application with caches."""
        request_started.connect(self._count, app)

    def close(self) -> None:
        request_started.disconnect(self._count, self.app)

    def cached(self, path: str, token: str | None = None, **kwargs: Any) -> WsgiResponse:
        """The response of the application with caches."""
        return wsgi_get(self.app.wsgi_app, path, token, **kwargs)

    def uncached(self, path: str, token: str | None = None, **kwargs: Any) -> WsgiResponse:
        """The response of the application without caches."""
        return wsgi_get(self._without_caches.wsgi_app, path, token, **kwargs)

    def is_hit(self, path: str, token: str | None = None, **kwargs: Any) -> bool:
        """Whether the third of three equal requests is answered by the response cache."""
        for _ in range(3):
            before = self.flask_requests
            self.cached(path, token, **kwargs)
        return self.flask_requests == before

    def _count(self, *_: object, **__: object) -> None:
        self.flask_requests += 1


def wsgi_get(way: Callable[..., Any], path: str, token: str | None = None, **kwargs: Any) -> WsgiResponse:
    kwargs.setdefault("headers", {})
    if token is not None:
        kwargs["headers"] = {"Authorization": f"Bearer {token}", **kwargs["headers"]}
    begun: list[Any] = []
    body = way(create_environ(path, **kwargs), lambda status, headers, *_: begun.append((status, list(headers))))
    try:
        return WsgiResponse(*begun[-1], b"".join(body))
    finally:
        getattr(body, "close", lambda: None)()


def require_same(pair: CachePair, path: str, token: str | None = None, **kwargs: Any) -> WsgiResponse:
    """Check that the responses of both applications are equal, on a cache miss and on a hit. Returns the response."""
    first = pair.cached(path, token, **kwargs)
    uncached = pair.uncached(path, token, **kwargs)
    again = [pair.cached(path, token, **kwargs) for _ in range(2)]
    assert {str(one.anonymous) for one in (first, *again)} == {str(uncached.anonymous)}, path
    sent = kwargs.get("headers", {}).get("X-Request-ID")
    ids = [one.request_id for one in (first, uncached, *again)]
    assert len(set(ids)) == (1 if uncached.request_id == sent else 4)
    return uncached


@dataclass
class SampleUsers:
    """One user of each kind, tokens of each kind, and paths."""

    secured_app: SecuredApp
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


def make_sample_users(secured_app: SecuredApp, database: psycopg.Connection[Any]) -> SampleUsers:
    """Create users and tokens of each kind."""
    users = {
        "ada": secured_app.create_user(
            "editor", username="ada", name='Ada \\ "Ä" 田中 \u007f'.replace("\u007f", ""), attributes={"team": "blue"}
        ),
        "bob": secured_app.create_user("member", username="bob", attributes={"x": [1e20, -0.0, "\u2028"]}),
        "vera": secured_app.create_user("viewer", username="vera"),
        "gone": secured_app.create_user("member", username="gone"),
        "off": secured_app.create_user("viewer", username="off"),
        "lowered": secured_app.create_user("editor", username="lowered"),
    }
    tokens = {name: secured_app.token(user)["token"] for name, user in users.items()}
    tokens["root"] = secured_app.token(secured_app.admin.user)["token"]
    tokens["viewer of ada"] = secured_app.token(users["ada"], "viewer")["token"]
    tokens["member of ada"] = secured_app.token(users["ada"], "member")["token"]
    tokens["member of root"] = secured_app.token(secured_app.admin.user, "member")["token"]
    revoked, expired = secured_app.token(users["ada"]), secured_app.token(users["ada"])
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    tokens |= {
        "revoked": revoked["token"],
        "expired": expired["token"],
        "lasting": secured_app.token(users["ada"], expires_at=soon)["token"],
        "damaged": tokens["ada"][:-1] + ("x" if tokens["ada"][-1] != "x" else "y"),
        "empty": "",
        "spaced": f"  {tokens['ada']} ",
        "nonsense": "é\x7f",
    }
    secured_app.admin.delete(f"/tokens/{revoked['id']}")
    database.execute("UPDATE tokens SET expires_at = now() WHERE id = %s", [expired["id"]])
    secured_app.admin.delete(f"/users/{users['gone']['id']}")
    secured_app.admin.patch(f"/users/{users['off']['id']}", {"active": False})
    secured_app.admin.patch(f"/users/{users['lowered']['id']}", {"role": "member"})
    ids = {name: user["id"] for name, user in users.items()}
    return SampleUsers(secured_app, tokens, {**ids, "root": secured_app.admin.id, "nobody": str(uuid.uuid4())})
