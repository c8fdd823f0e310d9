"""Responses to reads by API token, kept in memory: WSGI middleware that knows no route.

A view opts in by `cacheable`. Cached are complete responses with status 200; each counts only while neither the user
nor list that it shows, nor the credential of the request, has changed.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from flask import Response

from app.auth.admins import Admins
from app.auth.tokens import Tokens
from app.cache.generations import clock_ns
from app.cache.local import LocalCache
from app.http.context import CachePolicy, RequestContext, context
from app.http.problems import REFUSAL

CACHED = "app.cached_response"
"""Of an environ: the CachedResponse, or None, where it was looked up before."""

_StartResponse = Callable[..., Any]
_UNUSUAL = frozenset(
    {
        "HTTP_COOKIE",
        "HTTP_IF_MATCH",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_NONE_MATCH",
        "HTTP_IF_RANGE",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_PREFER",
        "HTTP_RANGE",
        REFUSAL,
    }
)
"""With one of them a request is not what others are, or has another response."""
_MAX_QUERY_CHARACTERS = 1024
_BEARER = "bearer "


class CachedResponse(NamedTuple):
    """A response with status 200, and the route that gave it."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    route: str | None


def cacheable(response: Response, *keys: str, by_actor: bool = False) -> Response:
    """Let the response of the current request be cached until one of `keys` changes.

    by_actor: it differs between users of one role.
    """
    context().cache_policy = CachePolicy(keys, by_actor)
    return response


class ResponseCache:
    """Stands before `app`. Nothing is cached for requests while the service is open."""

    def __init__(self, app: Callable[..., Iterable[bytes]], cache: LocalCache, admins: Admins, tokens: Tokens) -> None:
        self._app, self._cache, self._admins, self._tokens = app, cache, admins, tokens

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        """As WSGI has it (PEP 3333)."""
        found: CachedResponse | None = environ[CACHED] if CACHED in environ else self.get(environ)
        if found is None:
            return self._fetch(environ, start_response) if _is_usual(environ) else self._app(environ, start_response)
        context().route = found.route
        start_response("200 OK", list(found.headers))
        return [found.body]

    def get(self, environ: dict[str, Any]) -> CachedResponse | None:
        """The response to a request, if it is cached and valid."""
        if not _is_usual(environ) or not self._admins.is_known_secured:
            return None
        actor = self._tokens.cached_actor(environ["HTTP_AUTHORIZATION"][len(_BEARER) :].strip())
        if actor is None:
            return None
        address = _address(environ)
        found: CachedResponse | None = self._cache.get((actor.role, *address))
        if found is None:
            found = self._cache.get((actor.role, actor.user_id, *address))
        return found

    def _fetch(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            started[:] = [(status, headers)]
            return start_response(status, headers, *exc_info)

        began_ns, address = clock_ns(), _address(environ)
        body = self._app(environ, start)
        request_context = context()
        policy = request_context.cache_policy
        # While nobody has to sign in, roles decide nothing.
        may_keep = policy is not None and not request_context.actor.unrestricted
        if policy and may_keep and started and started[0][0].startswith("200") and isinstance(body, list):
            response = CachedResponse(tuple(started[0][1]), b"".join(body), request_context.route)
            self._cache.put((*_variant(request_context, policy), *address), response, policy.keys, began_ns)
        return body


def _is_usual(environ: dict[str, Any]) -> bool:
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    return (
        environ["REQUEST_METHOD"] == "GET"
        and authorization[: len(_BEARER)].lower() == _BEARER
        and _UNUSUAL.isdisjoint(environ)
        and not environ["SCRIPT_NAME"]
        and len(environ["QUERY_STRING"]) <= _MAX_QUERY_CHARACTERS
    )


def _address(environ: dict[str, Any]) -> tuple[str, str, str, str]:
    """What links in a response may depend on: scheme and host, as proxies tell them, path and query."""
    return (environ["wsgi.url_scheme"], environ.get("HTTP_HOST", ""), environ["PATH_INFO"], environ["QUERY_STRING"])


def _variant(request_context: RequestContext, policy: CachePolicy) -> tuple[Hashable, ...]:
    """Who may be given a response: all actors of a role, or one user with this role.

    Who was let in as the owner of a record gets a response of their own: others of that role are not let in.
    """
    actor = request_context.actor
    return (actor.role, actor.user_id) if policy.by_actor or request_context.is_owner else (actor.role,)
