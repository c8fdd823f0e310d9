"""The express lane: what a token asks for again and again, answered before Flask's routing when memory has it.

It answers what the route would, byte for byte (tests/api/test_express_*.py), from the same services, and only where
nothing is left to decide: everything else it leaves to Flask. One user, oneself, and pages of users.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import structlog
from flask import Flask

from app.errors import DomainError
from app.extensions import Resources, holding
from app.infra.shared import EVERY_WRITE, slot_of
from app.services import tokens, users
from app.services.authority import Actor
from app.services.keys import MEMBERS_KEY, user_key
from app.web.access import RULES
from app.web.express_writes import ExpressWrites
from app.web.watching import id_for, note

log = structlog.get_logger(__name__)

_USERS = {"/api/users/": "/api/users/<user_id>", "/users/": "/users/<user_id>"}
_ID_CHARACTERS = 36
_PAGES = ("/api/users", "/users")
_ME = ("/api/me", "/me")
_ORDERED = ("", "limit", "cursor")
"""What may be asked of a page in the order of making."""
_A_WHILE = timedelta(minutes=10)
"""Longer than a statement may take that makes users."""
_MEMBERS = slot_of(MEMBERS_KEY)
_METHODS = ("GET", "POST", "PATCH")
_BEARER = "bearer "
_LIST, _ONE = RULES["users.index"], RULES["users.show"]

_StartResponse = Callable[..., Any]
_Headers = list[tuple[str, str]]


class _Answer:
    """All of an answer but the id of its request, and the route that gives it."""

    __slots__ = ("body", "headers", "last_write", "route", "stamps")

    def __init__(self, headers: _Headers, body: bytes, route: str) -> None:
        self.headers, self.body, self.route = headers, body, route
        # Of a page that outlives writes: the stamps of its users by their slots, and of the last write looked at.
        self.stamps: dict[int, int] = {}
        self.last_write = 0

    def __len__(self) -> int:
        """Bytes of the body."""
        return len(self.body)


def install_express(app: Flask) -> None:
    """Put the lane in front of all else that `app` does."""
    app.wsgi_app = _Express(app, app.extensions["fullstack"], app.wsgi_app)  # type: ignore[method-assign]


class _Express:
    def __init__(self, app: Flask, held: Resources, rest: Callable[..., Iterable[bytes]]) -> None:
        self._held, self._rest, self._state, self._memory = held, rest, held.state, held.answers.memory
        self._table = held.answers.table
        self._is_public = held.settings.is_public
        self._uses = held.part(tokens.Uses)
        self._writes = ExpressWrites(app, held)

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in _METHODS or "HTTP_AUTHORIZATION" not in environ:
            return self._rest(environ, start_response)
        if environ["REQUEST_METHOD"] != "GET":
            return self._write(environ, start_response)
        began = time.perf_counter()
        try:
            actor = self._actor(environ)
            answer = None if actor is None else self._known_answer(actor, environ)
        # An edge: what goes wrong here goes wrong there once more, and is answered.
        except Exception as error:
            log.error("unforeseen", exc_info=error)  # noqa: TRY400 - with its trace, as elsewhere
            actor = answer = None
        if answer is not None:
            return _given(answer, environ, start_response, began)
        if actor is not None and environ["PATH_INFO"] in _PAGES and _LIST.lets(actor):
            return self._kept_page(environ, start_response)
        return self._rest(environ, start_response)

    def _write(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        try:
            actor = self._actor(environ)
            plan = None if actor is None else self._writes.plan(actor, environ)
        # An edge, as above.
        except Exception as error:
            log.error("unforeseen", exc_info=error)  # noqa: TRY400
            actor = plan = None
        if actor is None or plan is None:
            return self._rest(environ, start_response)
        return self._writes.give(plan, actor, environ, start_response, began)

    def _known_answer(self, actor: Actor, environ: dict[str, Any]) -> _Answer | None:
        path: str = environ["PATH_INFO"]
        if path in _PAGES:
            return self._page(environ) if _LIST.lets(actor) else None
        if environ["QUERY_STRING"]:
            return None
        return self._me(actor, path) if path in _ME else self._user(actor, path)

    def _actor(self, environ: dict[str, Any]) -> Actor | None:
        """Who asks, if their token is known and good, nothing is unusual, and no note is due that it was used."""
        state = self._state
        if "HTTP_COOKIE" in environ or "HTTP_IF_NONE_MATCH" in environ or "HTTP_PREFER" in environ:
            # Each of these may change the answer, or who asks.
            return None
        if not self._memory.usable:
            return None
        if not (state.closed or self._is_public) or state.is_starting:
            return None
        authorization: str = environ["HTTP_AUTHORIZATION"]
        # Not by the secret itself, which is not to lie about in memory.
        key = hashlib.sha256(authorization.encode("latin-1")).digest()
        known: tokens.Known | None = self._memory.recall(key)
        if known is None:
            known = self._known(authorization, key)
        return None if known is None or known.is_over() or self._uses.is_due(known.id) else known.actor

    def _known(self, authorization: str, key: bytes) -> tokens.Known | None:
        if authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        secret = authorization[len(_BEARER) :].strip()
        try:
            with holding(self._held):
                known = tokens.known(secret)
        except DomainError:
            # Why is for Flask to say.
            return None
        self._memory.alias(key, tokens.key_of(secret))
        return known

    def _me(self, actor: Actor, path: str) -> _Answer | None:
        if actor.user_id is None or not actor.whole:
            return None
        return self._document(str(actor.user_id), "no-store", path)

    def _user(self, actor: Actor, path: str) -> _Answer | None:
        text = path[-_ID_CHARACTERS:]
        route = _USERS.get(path[:-_ID_CHARACTERS])
        if route is None or not (_ONE.lets(actor) or (_ONE.own and actor.whole and str(actor.user_id) == text)):
            return None
        return self._document(text, "private, no-cache", route)

    def _document(self, text: str, caching: str, route: str) -> _Answer | None:
        """A living user by its id in canonical form."""
        known = self._table.recall(user_key(text))
        if known is None:
            try:
                user_id = uuid.UUID(text)
                if str(user_id) != text:
                    return None
                with holding(self._held):
                    found = users.fetch(user_id)
            except (ValueError, DomainError):
                return None
            known = found.version, found.body
        version, body = known
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("ETag", f'"{version}"'),
            ("Cache-Control", caching),
        ]
        return _Answer(headers, body, route)

    def _page(self, environ: dict[str, Any]) -> _Answer | None:
        known: _Answer | None = self._memory.recall(_place(environ))
        if known is not None and known.stamps and known.last_write != self._state.stamp(EVERY_WRITE):
            last_write, stamps = self._stamps(known.stamps)
            if stamps != known.stamps:
                return None
            known.last_write = last_write
        return known

    def _kept_page(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        """The page that Flask gives, kept whole until anything is written that may change it."""
        place, state, seen = _place(environ), self._state, _Seen(start_response)
        stamp, members = state.stamp(EVERY_WRITE), state.stamp(_MEMBERS)
        given = self._rest(environ, seen)
        if not seen.is_page or not isinstance(given, list):
            return given
        answer = _Answer(seen.headers, b"".join(given), environ["PATH_INFO"])
        users = _settled(environ["QUERY_STRING"], seen.headers, answer.body)
        answer.last_write, stamps = self._stamps(users)
        # They are those from before the users were read as well, if nothing was written since.
        if users and answer.last_write == stamp:
            answer.stamps = stamps
            self._memory.keep(place, answer, _MEMBERS, members)
        else:
            self._memory.keep(place, answer, EVERY_WRITE, stamp)
        return given

    def _stamps(self, slots: Iterable[int]) -> tuple[int, dict[int, int]]:
        """Those of the last write and of these slots, of one moment: no write has touched the one and not the other."""
        with self._state.locked():
            return self._state.stamp(EVERY_WRITE), {slot: self._state.stamp(slot) for slot in slots}


class _Seen:
    """Looks on while an answer begins."""

    def __init__(self, start_response: _StartResponse) -> None:
        self._start_response = start_response
        self.is_page = False
        self.headers: _Headers = []

    def __call__(self, status: str, headers: _Headers, *error: Any) -> Any:
        self.is_page = status == "200 OK"
        self.headers = [pair for pair in headers if pair[0] != "X-Request-ID"]
        return self._start_response(status, headers, *error)


def _settled(query: str, headers: _Headers, body: bytes) -> tuple[int, ...]:
    """The slots of the users of a page that only their changes change, or that one comes or goes who was there before.

    It is one in the order in which users are made, and others who were made a while ago come after it. None: it is not.
    """
    if any(part.partition("=")[0] not in _ORDERED for part in query.split("&")):
        return ()
    if not any(name == "Link" and value.endswith('rel="next"') for name, value in headers):
        return ()
    found = orjson.loads(body)
    newest = datetime.fromisoformat(found[-1]["created_at"]) if found else datetime.now(UTC)
    if datetime.now(UTC) - newest < _A_WHILE:
        return ()
    return tuple(slot_of(user_key(user["id"])) for user in found)


def _place(environ: dict[str, Any]) -> tuple[str, ...]:
    """What a page depends on: its links hold scheme and host."""
    return environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"], environ["PATH_INFO"], environ["QUERY_STRING"]


def _given(answer: _Answer, environ: dict[str, Any], start_response: _StartResponse, began: float) -> list[bytes]:
    request_id = id_for(environ.get("HTTP_X_REQUEST_ID", ""))
    start_response("200 OK", [*answer.headers, ("X-Request-ID", request_id)])
    note("GET", answer.route, 200, began, request_id)
    return [answer.body]
