"""Calls the application by ASGI. Request bodies arrive in parts, and tests can act between the parts."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from flask import Flask
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
    sent: list[dict[str, Any]] = []
    left = itertools.chain(parts)

    async def receive() -> dict[str, Any]:
        for part in left:
            if isinstance(part, bytes):
                return {"type": "http.request", "body": part, "more_body": True}
            part()
        if not ends:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await app(scope, receive, send)
    if not sent:
        return None
    start, body = sent
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return Response(body["body"], start["status"], headers)


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
