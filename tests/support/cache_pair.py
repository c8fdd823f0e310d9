"""The same requests to an application with its caches and to one without, and a crowd that makes them."""

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


class CachePair:
    """An application with its caches on, and one on the same servers without caches."""

    def __init__(self, app: Flask, without_caches: Flask) -> None:
        self.app, self._without_caches = app, without_caches
        self.flask_requests = 0
        """How many requests the first one's response cache has left to Flask."""
        request_started.connect(self._count, app)

    def close(self) -> None:
        request_started.disconnect(self._count, self.app)

    def cached(self, path: str, token: str | None = None, **kwargs: Any) -> Given:
        """From the application that may answer from its caches."""
        return given(self.app.wsgi_app, path, token, **kwargs)

    def uncached(self, path: str, token: str | None = None, **kwargs: Any) -> Given:
        """From the one that can't."""
        return given(self._without_caches.wsgi_app, path, token, **kwargs)

    def is_hit(self, path: str, token: str | None = None, **kwargs: Any) -> bool:
        """Whether the response cache answers by itself, once it may know the response."""
        for _ in range(3):
            before = self.flask_requests
            self.cached(path, token, **kwargs)
        return self.flask_requests == before

    def _count(self, *_: object, **__: object) -> None:
        self.flask_requests += 1


def given(way: Callable[..., Any], path: str, token: str | None = None, **kwargs: Any) -> Given:
    kwargs.setdefault("headers", {})
    if token is not None:
        kwargs["headers"] = {"Authorization": f"Bearer {token}", **kwargs["headers"]}
    begun: list[Any] = []
    body = way(create_environ(path, **kwargs), lambda status, headers, *_: begun.append((status, list(headers))))
    try:
        return Given(*begun[-1], b"".join(body))
    finally:
        getattr(body, "close", lambda: None)()


def require_same(pair: CachePair, path: str, token: str | None = None, **kwargs: Any) -> Given:
    """Both answer the same: the one with caches before it may know the response, and then."""
    first = pair.cached(path, token, **kwargs)
    uncached = pair.uncached(path, token, **kwargs)
    again = [pair.cached(path, token, **kwargs) for _ in range(2)]
    assert {str(one.anonymous) for one in (first, *again)} == {str(uncached.anonymous)}, path
    sent = kwargs.get("headers", {}).get("X-Request-ID")
    ids = [one.request_id for one in (first, uncached, *again)]
    assert len(set(ids)) == (1 if uncached.request_id == sent else 4)
    return uncached


@dataclass
class Crowd:
    """One user of each kind, a token of each kind for them, and paths."""

    house: SecuredApp
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


def gathered(house: SecuredApp, database: psycopg.Connection[Any]) -> Crowd:
    """Users and tokens of all kinds."""
    users = {
        "ada": house.make(
            "editor", username="ada", name='Ada \\ "Ä" 田中 \u007f'.replace("\u007f", ""), attributes={"team": "blue"}
        ),
        "bob": house.make("member", username="bob", attributes={"x": [1e20, -0.0, "\u2028"]}),
        "vera": house.make("viewer", username="vera"),
        "gone": house.make("member", username="gone"),
        "off": house.make("viewer", username="off"),
        "lowered": house.make("editor", username="lowered"),
    }
    tokens = {name: house.token(user)["token"] for name, user in users.items()}
    tokens["root"] = house.token(house.admin.user)["token"]
    tokens["viewer of ada"] = house.token(users["ada"], "viewer")["token"]
    tokens["member of ada"] = house.token(users["ada"], "member")["token"]
    tokens["member of root"] = house.token(house.admin.user, "member")["token"]
    revoked, expired = house.token(users["ada"]), house.token(users["ada"])
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    tokens |= {
        "revoked": revoked["token"],
        "expired": expired["token"],
        "lasting": house.token(users["ada"], expires_at=soon)["token"],
        "damaged": tokens["ada"][:-1] + ("x" if tokens["ada"][-1] != "x" else "y"),
        "empty": "",
        "spaced": f"  {tokens['ada']} ",
        "nonsense": "é\x7f",
    }
    house.admin.delete(f"/tokens/{revoked['id']}")
    database.execute("UPDATE tokens SET expires_at = now() WHERE id = %s", [expired["id"]])
    house.admin.delete(f"/users/{users['gone']['id']}")
    house.admin.patch(f"/users/{users['off']['id']}", {"active": False})
    house.admin.patch(f"/users/{users['lowered']['id']}", {"role": "member"})
    ids = {name: user["id"] for name, user in users.items()}
    return Crowd(house, tokens, {**ids, "root": house.admin.id, "nobody": str(uuid.uuid4())})
