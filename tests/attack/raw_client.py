"""Sends requests with exact bytes to the application by ASGI, and checks what is promised of every answer."""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.wrappers import Response

from app.http.granian_adapter import AsgiApp
from app.http.services import services_of
from tests.support.api_client import check
from tests.support.asgi import exchange

MAX_CPU_S, MAX_S = 1.5, 8.0
Header = tuple[bytes, bytes]


class RawClient:
    """Sends raw requests. headers: added to each request."""

    def __init__(self, app: Flask, headers: Mapping[str, str] | None = None) -> None:
        services = services_of(app)
        self._asgi = AsgiApp(app.wsgi_app, services.response_cache, services.settings)
        self._own = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]

    def __call__(
        self, method: str, target: bytes, headers: Iterable[Header] = (), body: bytes = b"", client: str = "127.0.0.1"
    ) -> Response:
        """The answer to a request. It comes in bounded time, and has the documented form."""
        path, _, query = target.partition(b"?")
        length = [(b"content-length", b"%d" % len(body))] if body else []
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "raw_path": path,
            "query_string": query, "headers": [(b"host", b"localhost"), *length, *self._own, *headers],
            "server": ("127.0.0.1", "5000"), "client": (client, "50000"),
        }  # fmt: skip
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        parts = [body] if body else []
        answer = exchange(self._asgi, scope, *parts)
        assert answer is not None
        assert time.process_time() - began_cpu_s < MAX_CPU_S, (method, target[:200])
        assert time.monotonic() - began_s < MAX_S, (method, target[:200])
        require_documented(method, path.decode("latin-1"), answer)
        return answer


def require_documented(method: str, path: str, answer: Any) -> None:
    """Require an answer of the API, a page, or a redirect within this service; never an error of the service."""
    status, kind = answer.status_code, answer.headers.get("Content-Type", "")
    assert status < 500, (status, answer.data[:500])
    assert answer.headers["X-Request-ID"]
    assert not any(name.lower() == "x-zqx" or "\n" in value for name, value in answer.headers)
    assert not any(cookie.startswith("zqx") for cookie in answer.headers.getlist("Set-Cookie"))
    location = answer.headers.get("Location")
    if location is not None:
        require_local(location)
    if f"{path}/".startswith("/api/"):
        check(method, status, answer.headers, answer.data)
    elif status not in (204, 301, 302, 303, 304, 308) and "json" not in kind and not answer.headers.get("HX-Redirect"):
        assert kind == "text/html; charset=utf-8", (status, kind, answer.data[:200])


def require_local(location: str) -> None:
    """Require that a redirect stays on this service, as browsers read it."""
    url = urlsplit(re.sub(r"[\t\r\n]", "", location).replace("\\", "/"))
    assert url.scheme in ("", "http", "https"), location
    assert url.netloc in ("", "localhost"), location
