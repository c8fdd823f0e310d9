"""Calls the application by ASGI. Request bodies arrive in parts, and tests can act between the parts."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

from flask import Flask
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wrappers import Response

from app.http.granian_adapter import AsgiApp
from app.http.services import services_of

T = TypeVar("T")
Part = bytes | Callable[[], object]
"""Bytes of a body, or a function that is called before the next bytes arrive."""


def scope_of(method: str, target: str, headers: Mapping[str, str] = {}, client: str = "127.0.0.1") -> dict[str, Any]:
    """The ASGI 3.0 scope of a request."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "server": ("127.0.0.1", "5000"),
        "client": (client, "50000"),
    }


def run(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run in a new thread, because the main thread cannot run a second event loop while Playwright runs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, main).result()


def exchange(app: AsgiApp, scope: dict[str, Any], *parts: Part, ends: bool = True) -> Response | None:
    """The response to one request, or None without a response. ends=False: the client never completes the body."""
    return run(exchange_async(app, scope, *parts, ends=ends))


async def exchange_async(app: AsgiApp, scope: dict[str, Any], *parts: Part, ends: bool = True) -> Response | None:
    """See `exchange`; for a running event loop."""
    sent = await _events(app, scope, *parts, ends=ends)
    if not sent:
        return None
    start, body = sent
    return Response(body["body"], start["status"], _decoded(start["headers"]))


def use_adapter(app: Flask) -> None:
    """Let the test clients of `app` get cached responses from the ASGI adapter, as the clients of a server do."""
    wsgi_app, services = app.wsgi_app, services_of(app)
    adapter = AsgiApp(wsgi_app, services.response_cache, services.settings)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET" or "HTTP_AUTHORIZATION" not in environ or environ["SCRIPT_NAME"]:
            return wsgi_app(environ, start_response)
        # In a new thread, because an event loop of Playwright may run in this one.
        with ThreadPoolExecutor(1) as pool:
            events = pool.submit(_events_without_loop, _events(adapter, _scope_of_environ(environ))).result()
        if events is None:
            return wsgi_app(environ, start_response)
        start, body = events
        # Flask's spelling of the status.
        title = HTTP_STATUS_CODES[start["status"]].upper()
        start_response(f"{start['status']} {title}", _decoded(start["headers"]))
        return [body["body"]]

    app.wsgi_app = answer  # type: ignore[method-assign]


def _events_without_loop(coroutine: Coroutine[Any, Any, list[dict[str, Any]]]) -> list[dict[str, Any]] | None:
    """The events, or None if the adapter needs an event loop, because the response is not cached."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        events: list[dict[str, Any]] = ended.value
        return events
    except RuntimeError:
        return None
    raise AssertionError("the adapter waits without an event loop")


def _scope_of_environ(environ: dict[str, Any]) -> dict[str, Any]:
    names = {name: name.removeprefix("HTTP_").replace("_", "-").lower() for name in environ if name.startswith("HTTP_")}
    return {
        "type": "http",
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "raw_path": quote(environ["PATH_INFO"].encode("latin-1")).encode(),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "headers": [(name.encode(), environ[key].encode("latin-1", "replace")) for key, name in names.items()],
        "server": (environ["SERVER_NAME"], environ["SERVER_PORT"]),
        "client": (environ.get("REMOTE_ADDR", "127.0.0.1"), "50000"),
    }


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


async def _events(app: AsgiApp, scope: dict[str, Any], *parts: Part, ends: bool = True) -> list[dict[str, Any]]:
    """The events that `app` sends: none, or the start of a response and its body."""
    sent: list[dict[str, Any]] = []
    left = itertools.chain(parts)

    async def receive() -> dict[str, Any]:
        for part in left:
            if isinstance(part, bytes):
                return {"type": "http.request", "body": part, "more_body": True}
            part()
        if sent:
            return {"type": "http.disconnect"}
        if not ends:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await app(scope, receive, send)
    return sent


def request(app: Flask, method: str, path: str, headers: Mapping[str, str], *parts: Part) -> Response:
    """The response to one request, by a new ASGI adapter."""
    length = str(sum(len(part) for part in parts if isinstance(part, bytes)))
    services = services_of(app)
    asgi_app = AsgiApp(app.wsgi_app, services.response_cache, services.settings)
    response = exchange(
        asgi_app, scope_of(method, path, {"Host": "localhost", "Content-Length": length, **headers}), *parts
    )
    assert response is not None
    return response
