"""Connections without requests are closed."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.support.service_process import Service

_LATE_S = 30.0


def test_a_connection_without_a_request_ends(serve: Callable[..., Service]) -> None:
    """Regression: 2,000 connections without a request never ended, and the service stopped responding."""
    service = serve(WORKERS="1")
    head = f"GET /api/health/live HTTP/1.1\r\nHost: localhost:{service.port}\r\n".encode()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    with ExitStack() as stack:
        place = ("127.0.0.1", service.port)
        for sent in (b"", head[:1], preface[:5], preface, head, head + b"\r\n"):
            client = stack.enter_context(socket.create_connection(place, timeout=_LATE_S + 10))
            client.sendall(sent)
            stack.callback(_require_end, client, sent, time.monotonic())
        # What begins again in time goes on.
        alive = stack.enter_context(socket.create_connection(place))
        for _ in range(3):
            alive.sendall(head + b"\r\n")
            assert alive.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.7 * _LATE_S / 2)


def _require_end(client: socket.socket, sent: bytes, began_s: float) -> None:
    while client.recv(65536):
        pass
    assert time.monotonic() - began_s < _LATE_S + 5, sent
