"""Both ways into an application, the express lane and Flask alone, and a crowd that comes by them."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from flask import Flask
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


@dataclass
class Lanes:
    """Both ways into an application."""

    app: Flask
    entered: int = 0
    """How often Flask was."""
    made: int = 0
    """Pages that the lane did not know and made itself."""

    def __post_init__(self) -> None:
        # In front of both ways stands what adds the same headers to all answers.
        self.express: Any = self.app.wsgi_app.app  # type: ignore[attr-defined]
        self._flask = self.express._rest
        self.express._rest = self._enter
        self._make = self.express._pages._make
        self.express._pages._make = self._count

    def _enter(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.entered += 1
        return self._flask(environ, start_response)

    def _count(self, place: Any) -> Any:
        self.made += 1
        return self._make(place)

    def close(self) -> None:
        self.express._rest, self.express._pages._make = self._flask, self._make

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


@dataclass
class Crowd:
    """One person of each kind, a token of each kind for them, and paths."""

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


def gathered(people: SecuredApp, database: psycopg.Connection[Any]) -> Crowd:
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
