"""What is known of the current request: shared by the middleware and the views, through the environ of WSGI."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from flask import Flask, Request
from flask.globals import request_ctx

from app.auth.permissions import OPEN, Actor
from app.auth.sessions import Session
from app.errors import Quota

_CONTEXT = "app.context"


class CachePolicy(NamedTuple):
    """How a response may be cached: a change of one of `keys` invalidates it.

    by_actor: each actor (user and role) gets a response of their own; else all actors of a role share it.
    """

    keys: tuple[str, ...]
    by_actor: bool


@dataclass(slots=True)
class RequestContext:
    """Of one request.

    session: if it came with one. cookie: the secret of a session cookie to set, "" to delete it. quota: what is left
    of the limit that the request was counted for. is_owner: only ownership of the record lets the actor in.
    cache_policy: set by a view whose response may be cached.
    """

    request_id: str
    actor: Actor = OPEN
    session: Session | None = None
    cookie: str | None = None
    quota: Quota | None = None
    route: str | None = None
    is_owner: bool = False
    cache_policy: CachePolicy | None = None


def install_context(app: Flask) -> None:
    """Let the context of each request of `app` name its route."""
    app.before_request(_note_route)


def begin(environ: dict[str, Any], request_id: str) -> RequestContext:
    """A new context for the request of an environ."""
    context = environ[_CONTEXT] = RequestContext(request_id)
    return context


def context_of(environ: dict[str, Any]) -> RequestContext:
    """The context that `begin` made."""
    context: RequestContext = environ[_CONTEXT]
    return context


def current_request() -> Request:
    """Flask's `request` itself: each use of the proxy for it looks it up again."""
    return request_ctx.request


def context() -> RequestContext:
    """The context of the current request."""
    return context_of(current_request().environ)


def _note_route() -> None:
    rule = current_request().url_rule
    context().route = rule.rule if rule is not None else None
