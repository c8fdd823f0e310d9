"""The connections of the clients, in one event loop. Busy ones load the service; others are idle or slow."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

ADMITTED, REFUSED = 200, 503
MOST_SPREAD = 1.5
"""A client that obeys Retry-After waits for up to so many times as long, at random: clients do not retry in step."""
SLOW_BYTE_S = 1.0
_RETRY_AFTER = b"\r\nretry-after: "
_CLOSE = b"\r\nconnection: close"
_LENGTH = b"\r\ncontent-length: "


@dataclass
class Answers:
    """How long the responses took, in seconds, from the first byte sent to the last byte received."""

    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, head: bytes, seconds: float) -> None:
        """Count one response. A refusal needs Retry-After."""
        status = int(head[9:12])
        if status == ADMITTED:
            self.admitted.append(seconds)
        elif status == REFUSED and _RETRY_AFTER in head:
            self.refused.append(seconds)
        else:
            self.wrong[f"{status} without Retry-After" if status == REFUSED else str(status)] += 1


class Busy(asyncio.Protocol):
    """A client that sends its next request as soon as it is answered. A refused request is sent again.

    obeys: it waits before that, as Retry-After says. If the response has Connection: close, it connects again.
    """

    def __init__(
        self, requests: Iterator[bytes], port: int, answers: Answers, stop: asyncio.Event, *, obeys: bool
    ) -> None:
        self._requests, self._port, self._answers, self._stop, self._obeys = requests, port, answers, stop, obeys
        self._request, self._received, self._sent_at = next(requests), b"", 0.0
        self._transport: asyncio.Transport

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def close(self) -> None:
        self._is_closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._is_closed = transport, False
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        head = head.lower()
        if not end or len(body) < _number_after(_LENGTH, head):
            return
        self._received = b""
        if self._stop.is_set():
            return
        self._answers.add(head, time.monotonic() - self._sent_at)
        if _CLOSE in head:
            self.close()
        wait_s = _number_after(_RETRY_AFTER, head)
        if not wait_s:
            self._request = next(self._requests)
        if wait_s and self._obeys:
            spread = random.uniform(1, MOST_SPREAD)  # noqa: S311 - no secret
            asyncio.get_running_loop().call_later(wait_s * spread, self._send)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._stop.is_set() and not self._is_closed:
            self._answers.wrong[f"connection ended: {error}"] += 1

    def _send(self) -> None:
        if self._stop.is_set():
            return
        if self._is_closed:
            self._opening = asyncio.ensure_future(self.open())
            return
        self._sent_at = time.monotonic()
        self._transport.write(self._request)


class Idle(asyncio.Protocol):
    """A client that keeps its connection open after one response, as a pool does."""

    def __init__(self, request: bytes, port: int) -> None:
        self._request, self._port = request, port
        self._has_answer = asyncio.Event()

    async def open(self) -> None:
        """Connect, and get a response."""
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        transport.write(self._request)
        await self._has_answer.wait()

    def data_received(self, _: bytes) -> None:
        self._has_answer.set()


class Slow(asyncio.Protocol):
    """A client that sends a byte each second: half of them of the headers, half of a body. It comes back when cut."""

    def __init__(self, request: bytes, number: int, port: int) -> None:
        self._request, self._port = request, port
        self._at_once = len(request) if number % 2 else 1
        self._sent = 0
        self._transport: asyncio.Transport

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._sent = transport, self._at_once
        transport.write(self._request[: self._sent])
        self._later()

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(SLOW_BYTE_S, self._send_byte)

    def _send_byte(self) -> None:
        if self._transport.is_closing():
            self._opening = asyncio.ensure_future(self.open())
            return
        self._transport.write(self._request[self._sent : self._sent + 1] or b"x")
        self._sent += 1
        self._later()


def _number_after(name: bytes, head: bytes) -> int:
    """The value of a header, 0 without it."""
    _, found, rest = head.partition(name)
    return int(rest.partition(b"\r\n")[0]) if found else 0
