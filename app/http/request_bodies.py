"""Request bodies: read whole by the event loop before a thread is spent, within bounds of size, time and number.

A body that is being read has a place. When there is none left, for all or for its address, it gets little time: what
arrives at once is always taken, so whoever holds all places stops nobody whose bodies come without delay.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from app.errors import N_, Unavailable

Receive = Callable[[], Awaitable[dict[str, Any]]]
"""The awaitable callable of ASGI that gives the next event of a request."""

LATE_S = 10.0
"""How long the next part of a body may take, and the whole at most; longer ones get more time for what has arrived."""
_WITHOUT_PLACE_S = 1.0
_BYTES_PER_S = 16_384
_PLACES, _PLACES_OF_ADDRESS = 128, 16
"""Of each process. A place may hold MAX_BODY_BYTES."""


class RequestBodies:
    """The bodies that one event loop reads."""

    def __init__(self, max_bytes: int, late_s: float = LATE_S) -> None:
        self._max_bytes, self._late_s = max_bytes, late_s
        self._taken = 0
        self._taken_by: Counter[str] = Counter()

    async def read(self, receive: Receive, length: int | None, address: str) -> bytes:
        """The whole body. `length`: what the request says, None if it says nothing; `address`: the client's.

        Raises: RequestEntityTooLarge, RequestTimeout, Unavailable, ClientDisconnected
        """
        if length is not None and length > self._max_bytes:
            raise RequestEntityTooLarge
        has_place = self._taken < _PLACES and self._taken_by[address] < _PLACES_OF_ADDRESS
        self._count(address, int(has_place))
        try:
            return await self._received(receive, length, has_place=has_place)
        except TimeoutError:
            if has_place:
                raise RequestTimeout(f"The body did not arrive in time: {self._late_s:g} s.") from None
            raise Unavailable(N_("Too many requests are slow to send their bodies. Try again shortly.")) from None
        finally:
            self._count(address, -int(has_place))

    def _count(self, address: str, change: int) -> None:
        self._taken += change
        self._taken_by[address] += change
        if not self._taken_by[address]:
            del self._taken_by[address]

    async def _received(self, receive: Receive, length: int | None, *, has_place: bool) -> bytes:
        parts: list[bytes] = []
        received, more, now = 0, True, asyncio.get_running_loop().time
        began_s = now()
        async with asyncio.timeout(self._late_s if has_place else _WITHOUT_PLACE_S) as deadline:
            while more and (length is None or received < length):
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientDisconnected
                parts.append(event["body"])
                received, more = received + len(event["body"]), event["more_body"]
                if received > self._max_bytes:
                    raise RequestEntityTooLarge
                if has_place:
                    longest_s = received / _BYTES_PER_S + self._late_s
                    deadline.reschedule(min(now() + self._late_s, began_s + longest_s))
        return b"".join(parts)
