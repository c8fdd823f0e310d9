"""Reads request bodies in the event loop, within bounds of size, time and number, before a thread is used.

A body that is being read occupies a slot. Without a free slot, in all or for the client's address, a body gets one
second. So clients that occupy all slots do not stop clients that send their bodies without delay.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from app.errors import N_, Unavailable

Receive = Callable[[], Awaitable[dict[str, Any]]]
"""ASGI's `receive`: awaits the next event of a request."""

BODY_TIMEOUT_S = 10.0
"""Time-out for the next part of a body, and for the whole body. Each part that arrives prolongs the latter."""
TIMEOUT_WITHOUT_SLOT_S = 1.0
_MIN_BYTES_PER_S = 16_384
_MAX_SLOTS, _MAX_SLOTS_PER_ADDRESS = 128, 16
"""Per process. A slot may use MAX_BODY_BYTES."""


class RequestBodies:
    """The bodies that one event loop is reading."""

    def __init__(self, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._used = 0
        self._used_by: Counter[str] = Counter()

    async def read(self, receive: Receive, length: int | None, address: str) -> bytes:
        """The complete body. length: Content-Length, None without one. address: the client's.

        Raises: RequestEntityTooLarge, RequestTimeout, Unavailable, ClientDisconnected
        """
        if length is not None and length > self._max_bytes:
            raise RequestEntityTooLarge
        has_slot = self._used < _MAX_SLOTS and self._used_by[address] < _MAX_SLOTS_PER_ADDRESS
        self._count(address, int(has_slot))
        try:
            return await self._received(receive, length, has_slot=has_slot)
        except TimeoutError:
            if has_slot:
                raise RequestTimeout(f"The body did not arrive in time: {self._timeout_s:g} s.") from None
            raise Unavailable(N_("Too many requests are slow to send their bodies. Try again shortly.")) from None
        finally:
            self._count(address, -int(has_slot))

    def _count(self, address: str, change: int) -> None:
        self._used += change
        self._used_by[address] += change
        if not self._used_by[address]:
            del self._used_by[address]

    async def _received(self, receive: Receive, length: int | None, *, has_slot: bool) -> bytes:
        parts: list[bytes] = []
        received, more = 0, True
        now = asyncio.get_running_loop().time
        began_s = now()
        async with asyncio.timeout(self._timeout_s if has_slot else TIMEOUT_WITHOUT_SLOT_S) as deadline:
            while more and (length is None or received < length):
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientDisconnected
                parts.append(event["body"])
                received, more = received + len(event["body"]), event["more_body"]
                if received > self._max_bytes:
                    raise RequestEntityTooLarge
                if has_slot:
                    max_s = received / _MIN_BYTES_PER_S + self._timeout_s
                    deadline.reschedule(min(now() + self._timeout_s, began_s + max_s))
        return b"".join(parts)
