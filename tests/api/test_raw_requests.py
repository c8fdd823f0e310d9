"""Malformed and unusual requests on sockets of a real server."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.api_client import check
from tests.support.service_process import Service

HEAD = "POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ANNOUNCED = f"{HEAD}Content-Length: {2**40}\r\n\r\n".encode()
LONG = b" " * 8 * 2**20


@pytest.fixture(scope="module")
def service(serve_all: Callable[..., Service]) -> Iterator[Service]:
    running = serve_all(WORKERS="1")
    yield running
    assert '"level":"error"' not in running.text


def send(service: Service, *parts: bytes, pause_s: float = 0, timeout: float = 10) -> tuple[int, bytes]:
    """Send raw bytes. Returns the status (0 without a response) and the whole response."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=timeout) as client:
        received = b""
        for part in parts:
            client.sendall(part)
            time.sleep(pause_s)
        while b"\r\n\r\n" not in received or _incomplete(received):
            data = client.recv(65536)
            if not data:
                break
            received += data
    return (int(received.split()[1]) if received else 0), received


def _incomplete(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) < int(line.split(b":")[1])
    return False


def is_problem(received: bytes) -> bool:
    """Whether it is an error in the form of the API."""
    head, _, body = received.partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
    headers = {name.title().replace("Id", "ID"): value for name, value in lines.items()}
    check("GET", int(head.split()[1]), {"X-Request-ID": headers["X-Request-ID"], **headers}, body)
    return headers["Content-Type"] == "application/problem+json"


def test_a_body_that_is_announced_as_too_large_is_413_before_it_is_sent(service: Service) -> None:
    began = time.monotonic()
    status, received = send(service, ANNOUNCED)
    assert status == 413
    assert is_problem(received)
    assert time.monotonic() - began < 2


def test_the_connection_of_a_refused_body_is_closed_although_the_client_keeps_it_open(service: Service) -> None:
    with ExitStack() as clients:
        sockets = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(20)]
        for client in sockets:
            clients.enter_context(client).sendall(ANNOUNCED)
        for client in sockets:
            while client.recv(65536):
                pass


def test_a_large_body_without_a_length_is_413_too(service: Service) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    status, received = send(
        service, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), *([chunk] * 40), b"0\r\n\r\n"
    )
    assert status == 413
    assert is_problem(received)


@pytest.mark.parametrize(
    ("head", "body", "wanted"),
    [
        (f"{HEAD}Content-Length: {len(LONG)}\r\n", LONG, 413),
        (f"{HEAD}Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(LONG), LONG), 413),
        (f"{HEAD}X-Long: {'x' * 40_000}\r\nContent-Length: {len(LONG)}\r\n", LONG, 431),
        (f"{HEAD.replace('POST', 'GET')}Content-Length: {len(LONG)}\r\n", LONG, 200),
    ],
    ids=["length", "chunks", "headers", "GET"],
)
def test_a_client_that_reads_after_it_has_sent_a_long_body_gets_the_response(
    service: Service, head: str, body: bytes, wanted: int
) -> None:
    """The connection was reset while the client still sent: behind Caddy some of these requests were 502."""
    assert send(service, f"{head}\r\n".encode(), body)[0] == wanted


def test_a_body_without_a_length_is_never_cut_to_fit(service: Service) -> None:
    """What stands behind the limit must not be ignored, and the limit itself still fits."""
    start = b'{"username": "cut-%d"}' % time.monotonic_ns()
    for length, wanted in ((2**20 + 1, 413), (2**20 + 70_000, 413), (2**20, 201)):
        body = start.ljust(length)
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:500_000], body[500_000:])]
        assert send(service, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), *chunks, b"0\r\n\r\n")[0] == wanted


def test_a_small_body_without_a_length_is_taken(service: Service) -> None:
    body = f'{{"username": "chunked-{time.monotonic_ns()}"}}'.encode()
    chunks = [b"%x\r\n%s\r\n" % (1, body[i : i + 1]) for i in range(len(body))]
    status, _ = send(service, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode(), *chunks, b"0\r\n\r\n")
    assert status == 201


@pytest.mark.parametrize("rest", [b"x\r\n", b"1\r\nabc", b"-1\r\n", b"0\r\nno colon\r\n\r\n"])
@pytest.mark.parametrize("length", ["", "Content-Length: 2\r\n"])
def test_malformed_chunks_are_400(service: Service, length: str, rest: bytes) -> None:
    """It was 500, without a body. Found by tests/attack."""
    head = f"{HEAD}{length}Transfer-Encoding: chunked\r\n\r\n".encode()
    status, received = send(service, head, b"2\r\n{}\r\n", rest, timeout=5)
    assert status == 400, received
    assert is_problem(received)
    assert b"chunks" in received


def test_a_body_that_stops_short_is_no_user(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(f"{HEAD}Content-Length: 100\r\n\r\n".encode() + b'{"username": "cut')
    assert service.get("/api/users?username=cut").json == []


def test_a_post_without_a_body_is_400_or_415(service: Service) -> None:
    assert send(service, f"{HEAD}\r\n".encode())[0] == 400
    assert send(service, f"{HEAD}Content-Length: 0\r\n\r\n".encode())[0] == 400
    assert send(service, b"POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")[0] == 415


@pytest.mark.parametrize(
    "target",
    [
        b"/api/users?q=\xff",
        b"/api/users/\xff",
        b"/\xff",
        b"/api/users?\xc3\x28=1",
        b"//evil.com/users",
        b"/api//users",
        b"/%00",
        b"/api/users/%00",
        b"/api/users?q=%00",
        b"/api/users?limit=9" + b"9" * 5000,
        b"/api/users?q=" + b"x" * 10_000,
        b"/" + b"a" * 30_000,
        b"/api/users/../../etc/passwd",
        b"/api/docs/..%2f..%2fconfig.py",
        b"*",
    ],
    ids=lambda target: repr(target[:24]),
)
def test_a_strange_target_is_4xx(service: Service, target: bytes) -> None:
    status, received = send(service, b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
    assert 400 <= status < 500, received[:500]
    assert b"<html" not in received.lower()


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: evil.com",
        b"Host:",
        b"Host: localhost\r\nX-Request-ID: a\x00b",
        b"Host: localhost\r\nIf-None-Match: \x00",
        b"Host: localhost\r\nX-Request-ID: \xff\xfe",
        b"Host: localhost\r\nPrefer: count=\xff",
        b"Host: localhost\r\nX: " + b"x" * 100_000,
        b"Host: localhost\r\n" + b"\r\n".join(b"X-%d: y" % n for n in range(500)),
        b"Host: localhost\r\nContent-Length: -1",
        b"Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2",
        b"Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"Host: localhost\r\nHost: evil.com",
        b"no colon",
        b"",
    ],
    ids=lambda headers: repr(headers[:40]),
)
def test_strange_headers_give_no_5xx(service: Service, headers: bytes) -> None:
    lines = headers + b"\r\n" if headers else b""
    status, received = send(service, b"GET /api/users HTTP/1.1\r\n%s\r\n" % lines, timeout=5)
    assert status < 500, received[:500]
    if b"evil" in headers or headers in (b"Host:", b""):
        assert status in (400, 403)
    assert service.get("/api/health/live").status == 200


@pytest.mark.parametrize("host", [b"evil.example:80@localhost", b"evil.example@127.0.0.1", b"localhost/evil.example"])
def test_a_malformed_host_header_is_no_local_name(service: Service, host: bytes) -> None:
    """`Host: evil.example:80@localhost` counted as local."""
    status, received = send(service, b"GET /api/users HTTP/1.1\r\nHost: %s\r\n\r\n" % host, timeout=5)
    assert status in (400, 403), received[:500]


@pytest.mark.parametrize(
    "request_line",
    [b"GET /api/users HTTP/1.0", b"GET  /api/users HTTP/1.1", b"\x16\x03\x01\x02", b"GET", b"PRI * HTTP/2.0"],
)
def test_what_is_hardly_http_leaves_the_service_alone(service: Service, request_line: bytes) -> None:
    status, received = send(service, request_line + b"\r\nHost: localhost\r\n\r\n", timeout=3)
    assert status < 500, received[:500]
    assert service.get("/api/health/live").status == 200


def test_many_requests_on_one_connection_are_answered_in_order(service: Service) -> None:
    one = b"GET /api/users?limit=%d HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: r%d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(b"".join(one % (n, n) for n in range(1, 11)))
        received = b""
        while received.lower().count(b"x-request-id: r") < 10:
            data = client.recv(65536)
            assert data, received
            received += data
    order = [
        int(line.split(b": r")[1]) for line in received.lower().split(b"\r\n") if line.startswith(b"x-request-id: r")
    ]
    assert order == list(range(1, 11))


def test_idle_connections_do_not_block_other_clients(service: Service) -> None:
    idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(200)]
    try:
        for client in idle[::2]:
            client.sendall(b"GET /api/users HTTP/1.1\r\nHost: loc")
        responses = [service.get("/api/users?limit=1") for _ in range(10)]
        assert {response.status for response in responses} == {200}
        assert max(response.seconds for response in responses) < 2
    finally:
        for client in idle:
            client.close()
