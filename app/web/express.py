"""The express lane: one user for who brings a token, answered before Flask's routing when memory has it all.

It answers what the route would, byte for byte (tests/api/test_express.py), from the same services, and only where
nothing is left to decide: everything else it leaves to Flask, unanswered.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

from app.errors import DomainError
from app.extensions import Resources
from app.infra.shared import Phase
from app.services import tokens, users
from app.services.authority import Actor
from app.services.documents import Document
from app.web.watching import id_for, note

_LANES = {"/api/users/": "/api/users/<user_id>", "/users/": "/users/<user_id>"}
_ID_CHARACTERS = 36
_ME = ("/api/me", "/me")
# Each of them can change the answer, or who asks.
_UNUSUAL = ("HTTP_COOKIE", "HTTP_IF_NONE_MATCH")
_Answer = tuple[Document, str, str]


def install_express(app: Flask) -> None:
    """Put the lane in front of all else that `app` does."""
    app.wsgi_app = _Express(app, app.wsgi_app)  # type: ignore[method-assign]


class _Express:
    def __init__(self, app: Flask, rest: Callable[..., Iterable[bytes]]) -> None:
        held: Resources = app.extensions["fullstack"]
        self._app, self._rest, self._state, self._memory = app, rest, held.state, held.answers.memory
        self._is_public = held.settings.is_public
        self._uses = held.part(tokens.Uses)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "GET" and "HTTP_AUTHORIZATION" in environ:
            began = time.perf_counter()
            answer = self._answer(environ)
            if answer is not None:
                return self._respond(environ, start_response, answer, began)
        return self._rest(environ, start_response)

    def _answer(self, environ: dict[str, Any]) -> _Answer | None:
        """The user, how it may be kept, and the route; None: it is for Flask."""
        if environ["QUERY_STRING"] or not self._memory.usable or any(name in environ for name in _UNUSUAL):
            return None
        state = self._state
        if not (state.closed or self._is_public) or state.phase is Phase.STARTING:
            return None
        actor = self._actor(environ["HTTP_AUTHORIZATION"])
        if actor is None:
            return None
        path: str = environ["PATH_INFO"]
        if path in _ME:
            if actor.user_id is None or not actor.whole:
                return None
            found = self._user(str(actor.user_id))
            return (found, "no-store", path) if found else None
        text = path[-_ID_CHARACTERS:]
        route = _LANES.get(path[:-_ID_CHARACTERS])
        if route is None or not (actor.may("viewer") or (actor.whole and str(actor.user_id) == text)):
            return None
        found = self._user(text)
        return (found, "private, no-cache", route) if found else None

    def _actor(self, authorization: str) -> Actor | None:
        """Whom a token stands for that is known, good, and not due for a note that it was used."""
        # Not by the secret itself, which is not to lie about in memory.
        key = hashlib.sha256(authorization.encode("latin-1")).digest()
        known: tokens.Known | None = self._memory.recall(key)
        if known is None:
            known = self._known(authorization)
            if known is None:
                return None
            self._memory.alias(key, tokens.key_of(authorization[7:].strip()))
        return None if known.is_over() or self._uses.is_due(known.id) else known.actor

    def _known(self, authorization: str) -> tokens.Known | None:
        if authorization[:7].lower() != "bearer ":
            return None
        try:
            with self._app.app_context():
                return tokens.known(authorization[7:].strip())
        except DomainError:
            return None

    def _user(self, text: str) -> Document | None:
        """A living user by its id in canonical form."""
        found: Document | None = self._memory.recall(f"user:{text}")
        if found is not None:
            return found
        try:
            user_id = uuid.UUID(text)
            if str(user_id) != text:
                return None
            with self._app.app_context():
                return users.fetch(user_id)
        except (ValueError, DomainError):
            # Why is for Flask to say.
            return None

    @staticmethod
    def _respond(
        environ: dict[str, Any], start_response: Callable[..., Any], answer: _Answer, began: float
    ) -> list[bytes]:
        document, kept, route = answer
        request_id = id_for(environ.get("HTTP_X_REQUEST_ID", ""))
        start_response(
            "200 OK",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(document.body))),
                ("ETag", f'"{document.version}"'),
                ("Cache-Control", kept),
                ("X-Request-ID", request_id),
            ],
        )
        note("GET", route, 200, began, request_id)
        return [document.body]
