"""The response cache keeps responses to GET requests with an API token. It knows no route.

A view opts in by `cacheable`. Only complete responses with status 200 are cached. A change of the user or list that a
response shows, or of the credential of the request, invalidates it.
"""

from http import HTTPStatus
from typing import Any, NamedTuple, cast

from flask import Response, request

from app import signals
from app.auth.tokens import Tokens
from app.cache.local import LocalCache
from app.http.context import ACTOR, CachePolicy, context
from app.ops.service_state import ServiceState

_UNCACHEABLE_HEADERS = frozenset(
    {
        "HTTP_COOKIE",
        "HTTP_IF_MATCH",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_NONE_MATCH",
        "HTTP_IF_RANGE",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_PREFER",
        "HTTP_RANGE",
    }
)
"""A request with one of these may have another response."""
_MAX_QUERY_CHARACTERS = 1024
_BEARER = "bearer "


class CachedResponse(NamedTuple):
    """A response with status 200, with its headers as ASGI sends them, and its route."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    route: str | None


def cacheable(response: Response, *keys: str, by_actor: bool = False) -> Response:
    """Let the response of the current request be cached until one of `keys` changes.

    by_actor: the response differs between users of one role.
    """
    context().cache_policy = CachePolicy(keys, by_actor)
    return response


class ResponseCache:
    """The server asks it before it uses Flask. Nothing is cached in setup mode."""

    def __init__(self, cache: LocalCache, state: ServiceState, tokens: Tokens) -> None:
        self._cache, self._state, self._tokens = cache, state, tokens

    def get(self, environ: dict[str, Any]) -> CachedResponse | None:
        """The cached and valid response to a request, if there is one."""
        url, found, actor = _cacheable_url(environ), None, None
        if url is not None and self._state.is_secured:
            actor = self._tokens.cached_actor(environ["HTTP_AUTHORIZATION"][len(_BEARER) :].strip())
        if url is not None and actor is not None:
            found = self._cache.get((actor.role, *url), (actor.role, actor.user_id, *url))
        environ[ACTOR] = actor
        for receive in signals.cache_read:
            is_bypass = found is None and (url is None or not self._state.is_secured or not self._cache.is_usable)
            receive("response", "bypass" if is_bypass else "miss" if found is None else "hit")
        return cast("CachedResponse | None", found)

    def store(self, response: Response) -> Response:
        """Cache the response of the current request if its view allows it. For Flask's after_request."""
        current, url = context(), _cacheable_url(request.environ)
        policy, actor = current.cache_policy, current.actor
        # In setup mode, roles decide nothing.
        if policy is None or response.status_code != HTTPStatus.OK or actor.unrestricted or url is None:
            return response
        # Other actors of the role may not read the record of an owner.
        by_actor = policy.by_actor or current.is_owner
        variant = (actor.role, actor.user_id) if by_actor else (actor.role,)
        headers = tuple([(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers])
        stored = CachedResponse(headers, response.get_data(), current.route)
        self._cache.put((*variant, *url), stored, policy.keys, current.began_ns)
        return response


def _cacheable_url(environ: dict[str, Any]) -> tuple[str, str, str, str] | None:
    """Scheme, host, path and query, which links in the response contain. None: the response may not be cached."""
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    if (
        environ["REQUEST_METHOD"] != "GET"
        or authorization[: len(_BEARER)].lower() != _BEARER
        or not _UNCACHEABLE_HEADERS.isdisjoint(environ)
        or environ["SCRIPT_NAME"]
        or len(environ["QUERY_STRING"]) > _MAX_QUERY_CHARACTERS
    ):
        return None
    return (environ["wsgi.url_scheme"], environ.get("HTTP_HOST", ""), environ["PATH_INFO"], environ["QUERY_STRING"])
