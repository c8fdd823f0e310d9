"""Stalled bodies and unread responses block no reads, writes or sign-ins."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from app.http.csrf import SAFE
from tests.support.api_client import check_problem
from tests.support.service_process import Service

STALLED = 200
ADMIN = {"email": "ada@example.org", "password": "correct horse battery"}
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
JSON = "Content-Type: application/json\r\n"


@dataclass(frozen=True)
class SecuredService:
    """A service with one administrator, and the headers of the credentials that it knows."""

    service: Service
    token: str
    cookie: str

    @property
    def credentials(self) -> tuple[str, ...]:
        """Headers of no credential, and of each credential."""
        return "", f"Authorization: Bearer {self.token}\r\n", f"Cookie: {self.cookie}\r\nOrigin: {self.origin}\r\n"

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.service.port}"

    def head(self, method: str, path: str, more: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: localhost:{self.service.port}\r\n{more}\r\n".encode()

    def require_alive(self) -> None:
        """Health, a read, a write and a sign-in, all soon. A busy service may refuse a request that it serves later."""
        by_token = {"Authorization": f"Bearer {self.token}"}
        name = f"u{time.monotonic_ns()}"
        assert self.service.get("/api/health/live", timeout=5).status == 200
        self._require(200, "GET", "/api/users?limit=2", None, by_token)
        self._require(201, "POST", "/api/users", {"username": name}, by_token)
        self._require(201, "POST", "/api/session", ADMIN, {})

    def _require(self, status: int, *request: Any) -> None:
        until = time.monotonic() + 5
        assert self.service.send_until_admitted(*request).status == status
        assert time.monotonic() < until


@pytest.fixture(scope="module")
def secured_service(serve_all: Callable[..., Service]) -> Iterator[SecuredService]:
    admin = {"ADMIN_EMAIL": ADMIN["email"], "ADMIN_PASSWORD": ADMIN["password"]}
    service = serve_all(WORKERS="1", THREADS="8", WRITE_RATE_PER_MINUTE="0", **admin)
    cookie = service.post("/api/session", ADMIN).headers["Set-Cookie"].partition(";")[0]
    browser = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    token = service.post("/api/tokens", {"name": "t", "role": "admin"}, headers=browser).json["token"]
    yield SecuredService(service, token, cookie)
    service.end()


@contextlib.contextmanager
def stalled(
    port: int, request: bytes, count: int = STALLED, address: str = "127.0.0.1"
) -> Iterator[list[socket.socket]]:
    """So many connections that sent this and nothing more."""
    with ExitStack() as stack:
        place, source = ("127.0.0.1", port), (address, 0)
        clients = [stack.enter_context(socket.create_connection(place, source_address=source)) for _ in range(count)]
        for client in clients:
            client.sendall(request)
        yield clients


def writes(app: Flask) -> list[tuple[str, str]]:
    """Method and a path of each route that takes a body."""
    some_id = "01890a5d-ac96-774b-bcce-b302099a8057"
    return sorted(
        {
            (method, re.sub(r"<[^>]+>", some_id, rule.rule))
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) - {*SAFE, "OPTIONS"}
        }
    )


def test_stalled_bodies_block_no_other_request(secured_service: SecuredService, app: Flask) -> None:
    """200 requests each without credential, by token and by session, to every route with a body."""
    port, routes = secured_service.service.port, writes(app)
    assert len(routes) > 30
    for method, path in routes:
        with ExitStack() as stack:
            kind = FORM if "/" not in path[1:] or path.startswith(("/people", "/api-tokens")) else JSON
            for credential in secured_service.credentials:
                request = secured_service.head(method, path, f"{credential}{kind}Content-Length: 100000\r\n") + b"a="
                stack.enter_context(stalled(port, request))
            try:
                secured_service.require_alive()
            except (AssertionError, OSError) as error:
                raise AssertionError(f"{method} {path}: {error!r}") from error


@pytest.mark.parametrize(
    ("head", "address"), [(JSON, "127.0.0.2"), (FORM, "127.0.0.3"), (f"{JSON}Expect: 100-continue\r\n", "127.0.0.4")]
)
def test_a_body_that_is_late_by_10_s_is_408_and_the_connection_closed(
    secured_service: SecuredService, head: str, address: str
) -> None:
    request = secured_service.head("POST", "/api/users", f"{head}Content-Length: 1000\r\n") + b"{"
    began = time.monotonic()
    with stalled(secured_service.service.port, request, 20, address) as clients:
        responses = [(received(client), time.monotonic() - began) for client in clients]
    late = [(response, after_s) for response, after_s in responses if response.startswith(b"HTTP/1.1 408")]
    refused = [response for response, _ in responses if response.startswith(b"HTTP/1.1 503")]
    assert (len(late), len(refused)) == (16, 4)
    assert all(9 < after_s < 14 for _, after_s in late)
    for response, _ in responses:
        assert b"connection: close" in response.lower()
        top, _, body = response.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in top.decode().split("\r\n")[1:])
        names = {name.lower(): value for name, value in headers.items()}
        required = ("Content-Type", "X-Request-ID", "Retry-After")
        check_problem(int(top.split()[1]), {name: names.get(name.lower()) for name in required}, body)


def received(client: socket.socket) -> bytes:
    """All until the connection is closed, without an interim answer."""
    client.settimeout(20)
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


def test_unread_responses_occupy_no_thread(secured_service: SecuredService) -> None:
    by_token = {"Authorization": f"Bearer {secured_service.token}"}
    for number in range(20):
        body = {"username": f"long-{time.monotonic_ns()}", "attributes": {"text": "x" * 15_000, "number": number}}
        assert secured_service.service.post("/api/users", body, headers=by_token).status == 201
    read = secured_service.head(
        "GET", "/api/users?sort=-created_at&limit=20", f"Authorization: Bearer {secured_service.token}\r\n"
    )
    with stalled(secured_service.service.port, read * 20):
        secured_service.require_alive()
