"""The express lane: what a token asks for again and again, answered before Flask's routing, mostly from memory.

It answers what the route would, byte for byte (tests/api/test_express_*.py), from the same services, and only where
nothing is left to decide: everything else it leaves to Flask. One user, oneself, and pages of users.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import structlog
from flask import Flask

from app.errors import DomainError
from app.extensions import Resources, holding
from app.services import tokens, users
from app.services.authority import Actor
from app.services.keys import user_key
from app.web.access import RULES
from app.web.express_pages import Answer, ExpressPages
from app.web.express_writes import ExpressWrites
from app.web.problems import REFUSAL
from app.web.watching import id_for, note

log = structlog.get_logger(__name__)

_USERS = {"/api/users/": "/api/users/<user_id>", "/users/": "/users/<user_id>"}
_ID_CHARACTERS = 36
_PAGES = ("/api/users", "/users")
_ME = ("/api/me", "/me")
_METHODS = ("GET", "POST", "PATCH")
_BEARER = "bearer "
_LIST, _ONE = RULES["users.index"], RULES["users.show"]

MEMORY_ONLY = "app.memory_only"
"""Of an environ: do not start a response to this read by token unless all of it is in memory; wait for nothing."""

_StartResponse = Callable[..., Any]


class _Admitted(NamedTuple):
    """What is known of a token and its id, and whether it lets in to pages, and to any one user."""

    known: tokens.Known
    token_id: str
    lists: bool
    shows: bool


def install_express(app: Flask) -> None:
    """Put the lane in front of all else that `app` does."""
    app.wsgi_app = _Express(app, app.extensions["fullstack"], app.wsgi_app)  # type: ignore[method-assign]


class _Express:
    def __init__(self, app: Flask, held: Resources, rest: Callable[..., Iterable[bytes]]) -> None:
        self._held, self._rest, self._state, self._memory = held, rest, held.state, held.answers.memory
        self._table = held.answers.table
        self._is_public = held.settings.is_public
        self._uses = held.part(tokens.Uses)
        self._pages, self._writes = ExpressPages(held), ExpressWrites(app, held)

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in _METHODS or "HTTP_AUTHORIZATION" not in environ or REFUSAL in environ:
            return self._rest(environ, start_response)
        if environ["REQUEST_METHOD"] != "GET":
            return self._write(environ, start_response)
        memory_only = MEMORY_ONLY in environ
        found = self._found(environ, ask=not memory_only)
        if found is None:
            return () if memory_only else self._rest(environ, start_response)
        headers, body = found
        start_response("200 OK", headers)
        return [body]

    def _found(self, environ: dict[str, Any], *, ask: bool) -> tuple[list[tuple[str, str]], bytes] | None:
        """Headers and body of the answer to a read. `ask`: PostgreSQL, for what memory does not know."""
        began = time.perf_counter()
        try:
            who = self._admitted(environ, ask=ask)
            answer = None if who is None else self._known_answer(who, environ, ask=ask)
        # An edge: what goes wrong here goes wrong in Flask once more, and is answered.
        except Exception as error:
            log.error("unforeseen", exc_info=error)  # noqa: TRY400 - with its trace, as elsewhere
            return None
        if answer is None:
            return None
        headers, body, route = answer
        request_id = id_for(environ.get("HTTP_X_REQUEST_ID", ""))
        note("GET", route, 200, began, request_id)
        return [*headers, ("X-Request-ID", request_id)], body

    def _write(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        try:
            who = self._admitted(environ, ask=True)
            plan = None if who is None else self._writes.plan(who.known.actor, environ)
        # An edge, as above.
        except Exception as error:
            log.error("unforeseen", exc_info=error)  # noqa: TRY400
            who = plan = None
        if who is None or plan is None:
            return self._rest(environ, start_response)
        return self._writes.give(plan, who.known.actor, environ, start_response, began)

    def _known_answer(self, who: _Admitted, environ: dict[str, Any], *, ask: bool) -> Answer | None:
        path: str = environ["PATH_INFO"]
        if path in _PAGES:
            return self._pages.answer(environ, ask=ask) if who.lists else None
        if environ["QUERY_STRING"]:
            return None
        return self._me(who.known.actor, path, ask=ask) if path in _ME else self._user(who, path, ask=ask)

    def _admitted(self, environ: dict[str, Any], *, ask: bool) -> _Admitted | None:
        """Who asks, if their token is known and good, nothing is unusual, and no note is due that it was used."""
        state = self._state
        if "HTTP_COOKIE" in environ or "HTTP_IF_NONE_MATCH" in environ or "HTTP_PREFER" in environ:
            # Each of these may change the answer, or who asks.
            return None
        if not (state.closed or self._is_public) or state.is_starting:
            return None
        authorization: str = environ["HTTP_AUTHORIZATION"]
        # Not by the secret itself, which is not to lie about in memory.
        key = hashlib.sha256(authorization.encode("latin-1")).digest()
        who: _Admitted | None = self._memory.recall(key)
        if who is None and ask:
            who = self._looked_up(authorization, key)
        if who is None or who.known.is_over() or self._uses.is_due(who.token_id):
            return None
        return who

    def _looked_up(self, authorization: str, key: bytes) -> _Admitted | None:
        if not self._memory.usable or authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        secret = authorization[len(_BEARER) :].strip()
        try:
            with holding(self._held):
                known = tokens.known(secret)
        except DomainError:
            # Why is for Flask to say.
            return None
        actor = known.actor
        who = _Admitted(known, known.id, lists=_LIST.lets(actor), shows=_ONE.lets(actor))
        self._memory.derive(key, tokens.key_of(secret), who)
        return who

    def _me(self, actor: Actor, path: str, *, ask: bool) -> Answer | None:
        if actor.user_id is None or not actor.whole:
            return None
        return self._document(str(actor.user_id), "no-store", path, ask=ask)

    def _user(self, who: _Admitted, path: str, *, ask: bool) -> Answer | None:
        text = path[-_ID_CHARACTERS:]
        route = _USERS.get(path[:-_ID_CHARACTERS])
        if route is None or not (
            who.shows or (_ONE.own and who.known.actor.whole and str(who.known.actor.user_id) == text)
        ):
            return None
        return self._document(text, "private, no-cache", route, ask=ask)

    def _document(self, text: str, caching: str, route: str, *, ask: bool) -> Answer | None:
        """A living user by its id in canonical form."""
        known = self._table.recall(user_key(text))
        if known is None and not ask:
            return None
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
        headers = (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("ETag", f'"{version}"'),
            ("Cache-Control", caching),
        )
        return headers, body, route
