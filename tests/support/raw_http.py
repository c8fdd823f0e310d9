"""Requests byte by byte, as no client library sends them."""

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class RawResponse:
    """What came back; names of headers in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for found, value in self.headers if found == name.lower()]


def request(
    port: int, method: str, path: str, headers: Iterable[bytes], body: bytes = b"", host: bytes = b"127.0.0.1"
) -> RawResponse:
    """One request with these header lines, in this order, beside Host and the length of its body."""
    own = [b"Host: " + host, b"Connection: close", *([b"Content-Length: %d" % len(body)] if body else [])]
    head = b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *own, *headers, b"", b""])
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head + body)
        # Who refuses a body that it has not read may hang up.
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                received += data
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    found = [(name.lower(), value) for name, _, value in pairs]
    return RawResponse(int(first.split()[1]), found, received.partition(b"\r\n\r\n")[2])
