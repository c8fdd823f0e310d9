"""The context of the current request, which hooks and views share."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from app.auth.permissions import SIGNED_OUT_ACTOR, Actor
from app.auth.session_store import Session
from app.errors import Quota

REQUEST_ERROR = "app.request_error"
"""Key of an environ: an error that was found before Flask, such as a body that is too large or too slow."""
ROUTE = "app.route"
"""Key of an environ: the route that answered."""
ACTOR = "app.actor"
"""Key of an environ: who gets a cached response."""


class CachePolicy(NamedTuple):
    """How a response may be cached: a change of one of `keys` invalidates it.

    by_actor: each actor (user and role) gets a response of their own; else all actors of a role share it.
    """

    keys: tuple[str, ...]
    by_actor: bool


@dataclass(slots=True)
class RequestContext:
    """One request.

    began_ns: its start (cache.generations.clock_ns). actor: who makes the request. session: of the actor, if there is
    one. cookie: the secret of a session cookie to set; "" deletes the cookie. quota: the rate limit that the request
    counts against. route: the URL rule. is_owner: the actor is let in as the owner of the record, not by role.
    cache_policy: set by a view whose response may be cached. trace_id: of a sampled trace (W3C Trace Context).
    is_address_logged: LOG_ADDRESSES.
    """

    request_id: str
    began_ns: int
    actor: Actor = SIGNED_OUT_ACTOR
    session: Session | None = None
    cookie: str | None = None
    quota: Quota | None = None
    route: str | None = None
    is_owner: bool = False
    cache_policy: CachePolicy | None = None
    trace_id: str | None = None
    is_address_logged: bool = False


CURRENT: ContextVar[RequestContext] = ContextVar("current request")
"""Set by http.request_log."""


def context() -> RequestContext:
    """The context of the current request. Raises: LookupError, before the first request of this thread"""
    return CURRENT.get()
