"""HTTP requests with exact bytes, which client libraries would not send."""

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class RawResponse:
    """A response. Header names are in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def all(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for found, value in self.headers if found == name.lower()]


def request(
    port: int, method: str, path: str, headers: Iterable[bytes], body: bytes = b"", host: bytes = b"127.0.0.1"
) -> RawResponse:
    """Send a request with exactly these header lines, after Host, Connection and Content-Length."""
    own = [b"Host: " + host, b"Connection: close", *([b"Content-Length: %d" % len(body)] if body else [])]
    head = b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *own, *headers, b"", b""])
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head + body)
        # A server may close the connection if it refuses a body before reading it.
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                received += data
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    found = [(name.lower(), value) for name, _, value in pairs]
    return RawResponse(int(first.split()[1]), found, received.partition(b"\r\n\r\n")[2])
