"""Request lines over 16 kB and headers over 32 kB are refused with a problem."""

import contextlib
import socket
from collections.abc import Callable

import pytest

from tests.support.service_process import Service

LINE, HEADERS = 16_384, 32_768


@pytest.fixture(scope="module")
def service(serve_all: Callable[..., Service]) -> Service:
    return serve_all(WORKERS="1")


@pytest.mark.parametrize(("extra", "statuses"), [(0, {422}), (1, {414})])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_line_is_limited_in_length(service: Service, method: str, extra: int, statuses: set[int]) -> None:
    """A line that fits is read, and a search of that length is refused by the rule of its parameter."""
    path = "/api/users?q=" if method == "GET" else "/api/session?"
    line = len(f"{method} {path} HTTP/1.1")
    response = service(method, path + "x" * (LINE - line + extra), b"" if method == "POST" else None)
    assert response.status in (statuses if method == "GET" or extra else {400, 415})
    if extra:
        assert str(LINE) in response.json["detail"]


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 431)])
@pytest.mark.parametrize("count", [1, 8, 60])
def test_headers_are_limited_in_total_size(service: Service, count: int, extra: int, status: int) -> None:
    """One long header, or many short ones."""
    own = f"host: 127.0.0.1:{service.port}\r\n" + "accept-encoding: identity\r\n"
    left = HEADERS - len(own) - len("x-00: \r\n") * count
    sizes = [left // count] * (count - 1)
    sizes.append(left - sum(sizes) + extra)
    headers = {f"X-{number:02}": "y" * size for number, size in enumerate(sizes)}
    response = service.get("/api/users?limit=1", headers=headers)
    assert response.status == status
    if status == 431:
        assert str(HEADERS) in response.json["detail"]


@pytest.mark.parametrize("kilobytes", [70, 300])
def test_the_server_refuses_far_longer_headers(service: Service, kilobytes: int) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        head = b"GET /api/users HTTP/1.1\r\nHost: localhost\r\nX: "
        with contextlib.suppress(ConnectionError):
            client.sendall(head + b"y" * (kilobytes * 1000) + b"\r\n\r\n")
            # What is still on its way when the server hangs up may cost the answer.
            assert client.recv(1000).startswith(b"HTTP/1.1 431") or kilobytes > 70
