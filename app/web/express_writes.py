"""The express lane for writes: a user made or changed by a token, as the routes do it, without Flask's routing.

It takes what is plain: JSON of a known length, without conditions or keys. What is refused is told by Flask's handlers.
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flask import Flask, g
from werkzeug.exceptions import ClientDisconnected

from app.errors import Quota
from app.extensions import Resources, holding
from app.schemas import UserDraft, UserPatch
from app.services import limiting, users
from app.services.authority import Actor
from app.services.documents import Document
from app.web.access import RULES
from app.web.problems import quota_headers
from app.web.reading import JSON_TYPES, PATCH_TYPES, as_model
from app.web.strict_json import parse_json
from app.web.watching import caller_of, id_for, note

# What only Flask reads: conditions, keys, and bodies that are not there as they are.
_UNUSUAL = (
    "HTTP_IF_MATCH",
    "HTTP_IDEMPOTENCY_KEY",
    "HTTP_CONTENT_ENCODING",
    "HTTP_TRANSFER_ENCODING",
)
_USERS = ("/api/users", "/users")
_ID_CHARACTERS = 36
_CREATE, _CHANGE = RULES["users.create"], RULES["users.change"]


class _Plan(NamedTuple):
    """What is to be written: to whom (None: somebody new), the path of all users, the route, and bytes of the body."""

    user_id: uuid.UUID | None
    base: str
    route: str
    length: int


class ExpressWrites:
    """Of one application."""

    def __init__(self, app: Flask, held: Resources) -> None:
        self._app, self._held = app, held
        self._most_bytes = held.settings.max_body_bytes

    def plan(self, actor: Actor, environ: dict[str, Any]) -> _Plan | None:
        """What `actor` asks to write. None: it is for Flask to say; nothing is read yet."""
        length = environ.get("CONTENT_LENGTH", "")
        if not length.isdecimal() or any(name in environ for name in _UNUSUAL):
            return None
        if environ["QUERY_STRING"] or environ.get("SCRIPT_NAME") or int(length) > self._most_bytes:
            return None
        path, kind = environ["PATH_INFO"], environ.get("CONTENT_TYPE")
        if environ["REQUEST_METHOD"] == "POST":
            is_plain = path in _USERS and kind in JSON_TYPES and _CREATE.lets(actor)
            return _Plan(None, path, path, int(length)) if is_plain else None
        base, text = path[: -_ID_CHARACTERS - 1], path[-_ID_CHARACTERS:]
        if path != f"{base}/{text}" or base not in _USERS or kind not in PATCH_TYPES or not _CHANGE.lets(actor):
            return None
        try:
            user_id = uuid.UUID(text)
        except ValueError:
            return None
        return _Plan(user_id, base, f"{base}/<user_id>", int(length)) if str(user_id) == text else None

    def give(
        self, plan: _Plan, actor: Actor, environ: dict[str, Any], start_response: Callable[..., Any], began: float
    ) -> Iterable[bytes]:
        """Write it, and answer."""
        request_id, quota = id_for(environ.get("HTTP_X_REQUEST_ID", "")), None
        caller = caller_of(environ, actor, request_id)
        try:
            with holding(self._held):
                quota = limiting.count_write(actor.credential_id or "")
                body = parse_json(_read(environ, plan.length))
                if plan.user_id is None:
                    made, user_id, _ = users.register(as_model(body, UserDraft), caller)
                    status, place = "201 CREATED", [("Location", f"{plan.base}/{user_id}")]
                else:
                    made = users.change(plan.user_id, as_model(body, UserPatch), _anything, caller)
                    status, place = "200 OK", []
        # An edge: Flask knows what to say of each.
        except Exception as error:  # noqa: BLE001
            return self._refused(error, environ, start_response, quota=quota, began=began, request_id=request_id)
        told = list(quota_headers(quota).items()) if quota is not None else []
        start_response(status, [*_headers(made), *place, *told, ("X-Request-ID", request_id)])
        note(environ["REQUEST_METHOD"], plan.route, int(status[:3]), began, request_id)
        return [made.body]

    def _refused(
        self,
        error: Exception,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        *,
        quota: Quota | None,
        began: float,
        request_id: str,
    ) -> Iterable[bytes]:
        with self._app.request_context(environ):
            g.began, g.request_id = began, request_id
            if quota is not None:
                g.quota = quota
            answer = self._app.finalize_request(self._app.handle_user_exception(error))
            return answer(environ, start_response)


def _read(environ: dict[str, Any], length: int) -> bytes:
    """The body, whole. Raises: ClientDisconnected"""
    body: bytes = environ["wsgi.input"].read(length)
    if len(body) < length:
        raise ClientDisconnected
    return body


def _headers(made: Document) -> list[tuple[str, str]]:
    return [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(made.body))),
        ("ETag", f'"{made.version}"'),
        ("Cache-Control", "private, no-cache"),
    ]


def _anything(_: int | None) -> bool:
    return True
