"""Reads request bodies in the event loop, within bounds of size, time and number, before a thread is used.

A body that is being read occupies a slot. Without a free slot, in all or for the client's address, a body gets one
second. So clients that occupy all slots do not stop clients that send their bodies without delay.
"""

import asyncio
import contextlib
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
DISCARD_S = 2.0
"""How long the rest of a body is read after the response to a refused request."""
_MIN_BYTES_PER_S = 16_384
_MAX_SLOTS, _MAX_SLOTS_PER_ADDRESS = 128, 16
"""Per process. A slot may use MAX_BODY_BYTES."""


class RequestBodies:
    """The bodies that one event loop is reading."""

    def __init__(self, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._used_by: Counter[str] = Counter()

    async def read(self, receive: Receive, length: int | None, address: str) -> bytes:
        """The complete body. length: Content-Length, None without one. address: the client's.

        Raises: RequestEntityTooLarge, RequestTimeout, Unavailable, ClientDisconnected
        """
        if length is not None and length > self._max_bytes:
            raise RequestEntityTooLarge
        has_slot = self._used_by.total() < _MAX_SLOTS and self._used_by[address] < _MAX_SLOTS_PER_ADDRESS
        slot = Counter([address] if has_slot else ())
        self._used_by += slot
        try:
            return await self._received(receive, length, has_slot=has_slot)
        except TimeoutError:
            if has_slot:
                raise RequestTimeout(f"The body did not arrive in time: {self._timeout_s:g} s.") from None
            raise Unavailable(N_("Too many requests are slow to send their bodies. Try again shortly.")) from None
        finally:
            # An address without slots is no longer a key.
            self._used_by -= slot

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


async def discard_rest(receive: Receive) -> None:
    """Read what the client still sends of a body after the response, until it is complete or DISCARD_S are over.

    To close a connection with unread data resets it, and a client or proxy that is still sending loses the response
    (RFC 9112, section 9.6).
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while (await receive()).get("more_body"):
                pass
