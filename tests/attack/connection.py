"""One connection: bytes that are sent, and the answers that come back."""

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A final response. mark: its X-Request-ID, None without one."""

    status: int
    mark: str | None


def exchange(port: int, parts: Iterable[bytes], last: str, silence_s: float = 1.0) -> list[Answer]:
    """Send the parts on one connection. Returns the answers until the one marked `last`, the end, or a silence."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The server may refuse the request, and close the connection, before all is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                client.sendall(part)
        client.settimeout(silence_s)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            while not any(one.mark == last for one in answers_of(received)) and (data := client.recv(65536)):
                received += data
    return answers_of(received)


def answers_of(received: bytes) -> list[Answer]:
    """The complete answers."""
    found = []
    while (end := received.find(b"\r\n\r\n")) >= 0:
        first, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert first.startswith("HTTP/1."), received
        assert "transfer-encoding" not in headers, "the service sends a length"
        status, begin = int(first.split()[1]), end + 4
        # Without a length, a refusal ends with the connection.
        is_last = status >= 400 and "content-length" not in headers
        length = len(received) - begin if is_last else int(headers.get("content-length", 0))
        if len(received) < begin + length:
            break
        received = received[begin + length :]
        if status >= 200:
            found.append(Answer(status, headers.get("x-request-id")))
    return found
