"""Serves the WSGI application (PEP 3333) by granian's ASGI interface.

The event loop reads each request completely, then a thread runs the application. A slow client occupies a task of the
event loop, never a thread.
"""

import asyncio
import io
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import chain
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
import uvloop
from flask import Flask
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestHeaderFieldsTooLarge, RequestURITooLarge

from app import signals
from app.auth.rate_limits import network_key
from app.cache.generations import clock_ns
from app.config import Settings
from app.errors import N_, BadRequest, Unavailable
from app.http.context import ACTOR, REQUEST_ERROR, ROUTE, RequestContext
from app.http.overload import overload_response
from app.http.proxies import apply_forwarded_headers
from app.http.request_bodies import BODY_TIMEOUT_S, Receive, RequestBodies, discard_rest
from app.http.request_log import log_request, request_id_of
from app.http.response_cache import ResponseCache
from app.http.services import services_of

log = structlog.get_logger(__name__)

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
WsgiApp = Callable[..., Iterable[bytes]]
RawResponse = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""

_BACKLOG = 2048
_HEADER_TIMEOUT_MS = 30_000
"""Time-out for a complete request line and headers; also between two requests of a connection."""
_MAX_HEAD_BYTES = 65_536
"""granian refuses a longer request line with headers itself, with 431 and no body."""
_MAX_REQUEST_LINE_BYTES, _MAX_HEADER_BYTES = 16_384, 32_768
_HEADER_OVERHEAD_BYTES = 4
"""Per header: the colon, a space and the end of the line."""
_LINE_OVERHEAD_BYTES = len(" ? HTTP/1.1")
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")
"""A body of these methods has no meaning (RFC 9110). If one is sent, it is discarded after the response."""
_HEALTH_PATHS = {f"{api}/health{kind}" for api in ("", "/api") for kind in ("", "/live", "/ready")}
_HEALTH_THREADS = 8
_TARGET_S = 0.2
"""An overloaded worker has as many requests in flight as it completes in this time."""
_MAX_IN_FLIGHT, _ALWAYS_ADMITTED = 128, 24
"""Limits of a worker: without overload, and at least. Requests that wait for a lock of PostgreSQL count, too."""
_GROWTH_PER_S = 120
"""How fast the limit grows after an overload. Refused clients must not all be admitted when they come back."""
_JOINED_BY = {"HTTP_COOKIE": "; "}
_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")
_ENVIRON: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "granian",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}


def serve(app: Flask) -> None:
    """Serve `app` in this process until SIGTERM, then let current requests finish."""
    uvloop.run(_serve(app))


async def _serve(app: Flask) -> None:
    services = services_of(app)
    settings = services.settings
    server = Server(
        AsgiApp(app.wsgi_app, services.response_cache, settings),
        address=settings.listen_address,
        port=settings.port,
        interface=Interfaces.ASGINL,
        # While granian detects the version of HTTP, no time-out applies.
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        # A bound on connections, not on requests: idle keep-alive connections count.
        backpressure=_BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT_MS, max_buffer_size=_MAX_HEAD_BYTES),
        log_enabled=False,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


class AsgiApp:
    """Adapts a WSGI application to ASGI 3.0. Each worker process creates its own.

    body_timeout_s: how long a client may take to send a body.
    """

    def __init__(
        self, wsgi_app: WsgiApp, cache: ResponseCache, settings: Settings, body_timeout_s: float = BODY_TIMEOUT_S
    ) -> None:
        self._response_cache = cache
        self._trusted_proxies, self._is_address_logged = settings.trusted_proxies, settings.log_addresses
        self._bodies = RequestBodies(settings.max_body_bytes, body_timeout_s)
        self._threads = RequestThreads(wsgi_app, settings.threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request: a cached response at once, everything else in a thread."""
        environ, began_ns = wsgi_environ(scope), clock_ns()
        found = None
        if self._trusted_proxies:
            apply_forwarded_headers(environ, self._trusted_proxies)
        try:
            _check_size(scope)
            found = self._response_cache.get(environ)
            if found is None and environ["REQUEST_METHOD"] not in _WITHOUT_BODY:
                await self._read_body(receive, environ)
        except ClientDisconnected:
            if "HTTP_TRANSFER_ENCODING" not in environ:
                return
            # The client may still be there: granian reports malformed chunks in the same way.
            environ[REQUEST_ERROR] = BadRequest(N_("The chunks of the body are malformed, or did not all arrive."))
        except (HTTPException, Unavailable) as error:
            environ[REQUEST_ERROR] = error
        if found is not None:
            environ[ROUTE] = found.route
            current = RequestContext(request_id_of(environ), began_ns, environ[ACTOR], route=found.route)
            current.is_address_logged = self._is_address_logged
            log_request(environ, current, HTTPStatus.OK, cached=True)
            status, headers, body = 200, [*found.headers, (b"X-Request-ID", current.request_id.encode())], found.body
        else:
            status, headers, body = await self._threads.run(environ)
        # The traceback of the error refers to this frame. In a cycle, `receive` would keep the connection open.
        is_refused = environ.pop(REQUEST_ERROR, None) is not None
        if is_refused:
            headers.append((b"Connection", b"close"))
        for finished in signals.request_finished:
            method, path, route = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get(ROUTE)
            finished(method, path, route, status, clock_ns() - began_ns, found is not None)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        has_body = "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ
        if has_body and (is_refused or environ["REQUEST_METHOD"] in _WITHOUT_BODY):
            await discard_rest(receive)

    async def _read_body(self, receive: Receive, environ: dict[str, Any]) -> None:
        """Raises: as RequestBodies.read"""
        length = environ.get("CONTENT_LENGTH", "")
        if not length and "HTTP_TRANSFER_ENCODING" not in environ:
            return
        expected = int(length) if length.isdecimal() else None
        body = await self._bodies.read(receive, expected, network_key(environ["REMOTE_ADDR"]))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["CONTENT_LENGTH"], environ["wsgi.input"] = str(len(body)), io.BytesIO(body)


class RequestThreads:
    """The threads that run the application, and the admission of requests to them.

    By Little's law, requests take _TARGET_S if as many are in flight as are completed in _TARGET_S. That is the limit
    when more were in flight twice in a row, and while requests are refused. Then it grows.
    """

    def __init__(self, wsgi_app: WsgiApp, count: int) -> None:
        self._wsgi_app = wsgi_app
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="request")
        self._health_pool = ThreadPoolExecutor(_HEALTH_THREADS, thread_name_prefix="health")
        self._limit, self._in_flight, self._completed, self._refused, self._since_s = _MAX_IN_FLIGHT, 0, 0, 0, 0.0
        self._is_behind = False

    async def run(self, environ: dict[str, Any]) -> RawResponse:
        """The response of the application; 503 above the limit. Health checks have their own threads, and no limit."""
        loop = asyncio.get_running_loop()
        if environ["PATH_INFO"] in _HEALTH_PATHS:
            return await loop.run_in_executor(self._health_pool, _run, self._wsgi_app, environ)
        if (elapsed_s := loop.time() - self._since_s) >= _TARGET_S:
            if self._refused:
                log.warning("overloaded", refused=self._refused, limit=self._limit)
            was_behind, self._is_behind = self._is_behind, self._in_flight > self._completed
            is_overloaded = self._refused or (was_behind and self._is_behind)
            grown = min(_MAX_IN_FLIGHT, self._limit + int(_GROWTH_PER_S * elapsed_s))
            self._limit = max(_ALWAYS_ADMITTED, self._completed) if is_overloaded else grown
            self._since_s, self._completed, self._refused = loop.time(), 0, 0
        if self._in_flight >= self._limit:
            self._refused += 1
            for refused in signals.request_overloaded:
                refused()
            return overload_response(environ)
        self._in_flight += 1
        for receive in signals.in_flight_changed:
            receive(self._in_flight)
        try:
            return await loop.run_in_executor(self._pool, _run, self._wsgi_app, environ)
        finally:
            self._in_flight -= 1
            self._completed += 1
            for receive in signals.in_flight_changed:
                receive(self._in_flight)


def wsgi_environ(scope: Scope) -> dict[str, Any]:
    """The WSGI environ of a request, with an empty body."""
    path: bytes = scope["raw_path"]
    return {
        **_ENVIRON,
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": scope["server"][1],
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(),
        **environ_headers(scope["headers"]),
    }


def environ_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Request headers as variables of a WSGI environ (PEP 3333: one character per byte).

    A name with an underscore is dropped: `X_Forwarded_For` of a client would be the same variable as `X-Forwarded-For`
    of a proxy. Repeated headers are joined (RFC 9110, section 5.3), Cookie with its own separator (RFC 6265).
    """
    found: dict[str, str] = {}
    for name, value in raw:
        if b"_" in name:
            continue
        variable = name.decode("latin-1").upper().replace("-", "_")
        if variable not in _WITHOUT_PREFIX:
            variable = f"HTTP_{variable}"
        text = value.decode("latin-1")
        found[variable] = f"{found[variable]}{_JOINED_BY.get(variable, ',')}{text}" if variable in found else text
    return found


def _check_size(scope: Scope) -> None:
    """Raises: RequestURITooLarge, RequestHeaderFieldsTooLarge"""
    line = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + _LINE_OVERHEAD_BYTES
    if line > _MAX_REQUEST_LINE_BYTES:
        raise RequestURITooLarge(f"The request line is longer than {_MAX_REQUEST_LINE_BYTES} bytes.")
    headers = scope["headers"]
    total = sum(map(len, chain.from_iterable(headers))) + _HEADER_OVERHEAD_BYTES * len(headers)
    if total > _MAX_HEADER_BYTES:
        raise RequestHeaderFieldsTooLarge(f"The headers are longer than {_MAX_HEADER_BYTES} bytes in sum.")


def _run(app: WsgiApp, environ: dict[str, Any]) -> RawResponse:
    """Run the WSGI application. Returns the complete response."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:  # noqa: ARG001
        started[:] = int(status[:3]), []
        for name, value in headers:
            started[1].append((name.encode("latin-1"), value.encode("latin-1")))

    try:
        body = app(environ, start_response)
        try:
            content = b"".join(body)
        finally:
            if hasattr(body, "close"):
                body.close()
    # A process edge: Flask handles its own errors, but not errors of the middleware before it.
    except Exception as error:
        request_id = request_id_of(environ)
        log.error("unforeseen", request_id=request_id, exc_info=error)  # noqa: TRY400 - with its trace, as elsewhere
        return HTTPStatus.INTERNAL_SERVER_ERROR, [(b"X-Request-ID", request_id.encode())], b""
    return started[0], started[1], content
