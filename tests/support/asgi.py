"""The application as the server calls it: requests whose bodies come in parts, with something done in between."""

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
"""Bytes of a body, or what is done before the next ones arrive."""


def scope_of(method: str, target: str, headers: Mapping[str, str] = {}, client: str = "127.0.0.1") -> dict[str, Any]:
    """What a server tells of a request (ASGI 3.0)."""
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
    """As asyncio.run, in a thread of its own: while Playwright runs, the main thread can't run another event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, main).result()


def exchange(app: AsgiApp, scope: dict[str, Any], *parts: Part, ends: bool = True) -> Response | None:
    """The answer to one request; None: it has none. A body that does not end is one that its client does not finish."""
    return run(exchange_async(app, scope, *parts, ends=ends))


async def exchange_async(app: AsgiApp, scope: dict[str, Any], *parts: Part, ends: bool = True) -> Response | None:
    """The same, in a loop that runs."""
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
    """One request to an application of its own for it."""
    length = str(sum(len(part) for part in parts if isinstance(part, bytes)))
    services = services_of(app)
    asgi_app = AsgiApp(app.wsgi_app, services.response_cache, services.settings)
    response = exchange(
        asgi_app, scope_of(method, path, {"Host": "localhost", "Content-Length": length, **headers}), *parts
    )
    assert response is not None
    return response
