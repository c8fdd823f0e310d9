"""The ASGI adapter calls the WSGI application according to PEP 3333."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast
from wsgiref.validate import validator

import pytest
from werkzeug.wrappers import Response

from app.auth.permissions import SIGNED_OUT_ACTOR
from app.config import load_settings
from app.http import request_bodies
from app.http.context import ACTOR, REQUEST_ERROR
from app.http.granian_adapter import AsgiApp
from app.http.response_cache import CachedResponse, ResponseCache
from tests.support.asgi import Part, exchange, exchange_async, run, scope_of

PLAIN = {"Host": "localhost"}


def serving(wsgi_app: Any, late_s: float = 10, **settings: str) -> AsgiApp:
    return AsgiApp(wsgi_app, cast("ResponseCache", Remembered()), load_settings(settings), late_s)


class Remembered:
    """A response cache that has a response for /known, and none for all else."""

    def get(self, environ: dict[str, Any]) -> CachedResponse | None:
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) != ("GET", "/known"):
            return None
        environ[ACTOR] = SIGNED_OUT_ACTOR
        return CachedResponse((), b"found", None)


def answered(wsgi_app: Any, scope: dict[str, Any], *parts: Part) -> Response:
    response = exchange(serving(wsgi_app), scope, *parts)
    assert response is not None
    return response


class Closing:
    """An iterable as PEP 3333 allows it, to be closed in the end."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.closed = False

    def __iter__(self) -> Any:
        return iter(self._pieces)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("body", [[], [b"one"], [b"one", b"two"], Closing([b"one", b"two"])], ids=type)
def test_every_kind_of_wsgi_body_is_sent(body: Iterable[bytes]) -> None:
    def app(_: dict[str, Any], start_response: Any) -> Any:
        start_response("201 CREATED", [("Content-Type", "text/plain")])
        return body

    response = answered(app, scope_of("GET", "/", PLAIN))
    assert (response.status_code, response.headers["Content-Type"], response.data) == (
        201,
        "text/plain",
        b"".join(body),
    )
    assert getattr(body, "closed", True)


def test_the_wsgi_environ_does_not_contain_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read(3)]

    headers = {**PLAIN, "Content-Type": "text/plain", "Content-Length": "4", "X-Two": "\xff", "X_Two": "forged"}
    response = answered(validator(app), scope_of("POST", "/a%20%C3%A9?q=%41", headers), b"ab", b"cd")
    assert response.data == b"abc"
    assert "A_SECRET" not in seen
    for name, value in {
        "PATH_INFO": "/a \xc3\xa9",
        "QUERY_STRING": "q=%41",
        "CONTENT_LENGTH": "4",
        "HTTP_X_TWO": "\xff",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }.items():
        assert seen[name] == value


def test_a_received_chunked_body_has_a_content_length() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["CONTENT_LENGTH"].encode(), environ["wsgi.input"].read()]

    scope = scope_of("POST", "/", {**PLAIN, "Transfer-Encoding": "chunked"})
    assert answered(app, scope, b"abc", b"", b"def").data == b"6abcdef"


def test_a_client_that_disconnects_before_the_body_is_complete_gets_no_response() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: dict[str, Any]) -> None:
        pytest.fail("nobody is there")

    app = serving(lambda *_: pytest.fail("half a request"))
    run(app(scope_of("POST", "/", {**PLAIN, "Content-Length": "5"}), gone, send))


def test_an_exception_in_one_thread_affects_no_other_request() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise ZeroDivisionError
        start_response("200 OK", [])
        return [b"good"]

    async def both() -> Response | None:
        served = serving(app, THREADS="1")
        bad = await exchange_async(served, scope_of("GET", "/bad", PLAIN))
        assert bad is not None
        assert bad.status_code == 500
        return await exchange_async(served, scope_of("GET", "/", PLAIN))

    response = run(both())
    assert response is not None
    assert response.data == b"good"


def test_a_cached_response_is_sent_from_the_event_loop_and_all_else_from_a_thread() -> None:
    """A cached response needs no thread, because it needs neither PostgreSQL nor Redis."""
    in_loop: list[bool] = []

    def app(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        in_loop.append(runs_an_event_loop())
        start_response("200 OK", [("X-Request-ID", "x")])
        return [b"new"]

    cached = answered(app, scope_of("GET", "/known", {**PLAIN, "X-Request-ID": "sane"}))
    assert (cached.status_code, cached.data, cached.headers["X-Request-ID"]) == (200, b"found", "sane")
    assert in_loop == []
    assert answered(app, scope_of("GET", "/new", PLAIN)).data == b"new"
    assert answered(app, scope_of("POST", "/known", PLAIN)).data == b"new"
    assert in_loop == [False, False]


def runs_an_event_loop() -> bool:
    """Whether this thread does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_behind_a_trusted_proxy_slots_are_counted_per_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that uses all slots of its address does not affect other clients of the same proxy."""
    monkeypatch.setattr(request_bodies, "TIMEOUT_WITHOUT_SLOT_S", 0.05)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("503 LATE" if REQUEST_ERROR in environ else "200 OK", [])
        return []

    async def scene() -> list[int]:
        served = serving(app, late_s=1, TRUSTED_PROXIES="127.0.0.1")
        via = {**PLAIN, "Content-Length": "10", "X-Forwarded-For": "203.0.113.9"}
        stalled = [
            asyncio.create_task(exchange_async(served, scope_of("POST", "/", via), b"a=", ends=False))
            for _ in range(16)
        ]
        await asyncio.sleep(0.01)
        statuses = []
        for client in ("203.0.113.9", "203.0.113.10"):
            scope = scope_of("POST", "/", {**via, "X-Forwarded-For": client})
            asking = asyncio.create_task(delayed(served, scope))
            await asyncio.wait([asking])
            statuses.append(asking.result())
        for task in stalled:
            task.cancel()
        return statuses

    assert run(scene()) == [503, 200]


async def delayed(app: AsgiApp, scope: dict[str, Any]) -> int:
    """The status of the answer to a body that takes longer than one without a place may take."""
    parts = [b"12345", b"67890"]
    sent: list[int] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event.get("status", 0))

    await app(scope, receive, send)
    return sent[0]
