"""A late body is 408 and frees its slot, and an address has a limited share of the slots."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from app.errors import Unavailable
from app.http import request_bodies as module
from app.http.request_bodies import RequestBodies
from tests.support.asgi import run


class Client:
    """Sends parts, each after some seconds; then nothing."""

    def __init__(self, *parts: tuple[float, bytes]) -> None:
        self._parts = list(parts)

    async def __call__(self) -> dict[str, Any]:
        if not self._parts:
            await asyncio.sleep(3600)
        after_s, part = self._parts.pop(0)
        await asyncio.sleep(after_s)
        return {"type": "http.request", "body": part, "more_body": True}


def stalled(bodies: RequestBodies, count: int, address: str = "a") -> list[Awaitable[bytes]]:
    return [asyncio.ensure_future(bodies.read(Client((0, b"a=")), 100_000, address)) for _ in range(count)]


@pytest.mark.parametrize(
    ("parts", "arrives"),
    [
        ([], False),
        ([(0, b"12345")], False),
        ([(0.05, b"12345")] * 2, True),
        # A part now and then does not hold the place.
        ([(0.15, b"1")] * 10, False),
        # What has arrived buys time for the rest.
        ([(0, b"1" * 50_000), (0.15, b"1"), (0.15, b"1")], True),
        # But not to say nothing.
        ([(0, b"1" * 50_000), (0.3, b"11")], False),
    ],
)
def test_a_late_body_is_408(parts: list[tuple[float, bytes]], arrives: bool) -> None:
    bodies = RequestBodies(max_bytes=100_000, timeout_s=0.2)
    length = sum(len(part) for _, part in parts) or 10
    reading = bodies.read(Client(*parts), length if arrives else max(10, length), "a")
    if arrives:
        assert len(run(reading)) == length
    else:
        with pytest.raises(RequestTimeout, match=r"0\.2 s"):
            run(reading)


@pytest.mark.parametrize("length", [None, 11])
def test_a_body_up_to_the_maximum_size_is_accepted(length: int | None) -> None:
    bodies = RequestBodies(max_bytes=10)
    with pytest.raises(RequestEntityTooLarge):
        run(bodies.read(Client((0, b"1" * 6), (0, b"1" * 5)), length, "a"))
    assert run(bodies.read(Client((0, b"1" * 6), (0, b"1" * 4)), 10, "a")) == b"1" * 10


def test_an_address_without_free_slots_gets_a_short_time_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_WITHOUT_SLOT_S", 0.3)

    async def scene() -> None:
        bodies = RequestBodies(max_bytes=100_000, timeout_s=1.5)
        waiting = stalled(bodies, 100)
        await asyncio.sleep(0)
        slow = [(0.6, b"12345"), (0, b"67890")]
        with pytest.raises(Unavailable):
            await bodies.read(Client(*slow), 10, "a")
        assert await bodies.read(Client(*slow), 10, "b") == b"1234567890"
        assert await bodies.read(Client((0.01, b"1234567890")), 10, "a") == b"1234567890"
        ends = [type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)]
        assert ends.count(RequestTimeout) == 16
        assert ends.count(Unavailable) == 84
        assert await bodies.read(Client(*slow), 10, "a") == b"1234567890"

    run(scene())


def test_slow_bodies_of_many_addresses_do_not_block_quick_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_WITHOUT_SLOT_S", 1.0)

    async def scene() -> None:
        bodies = RequestBodies(max_bytes=100_000, timeout_s=2.5)
        waiting = [one for number in range(50) for one in stalled(bodies, 16, str(number))]
        await asyncio.sleep(0)
        assert await bodies.read(Client((0.01, b"1234567890")), 10, "b") == b"1234567890"
        ends = [type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)]
        assert ends.count(RequestTimeout) == 128

    run(scene())


def test_the_rest_of_a_body_is_discarded_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"1", "more_body": True}

    monkeypatch.setattr(module, "DISCARD_S", 0.2)
    for receive in (forever, Client((0, b"1"))):
        run(asyncio.wait_for(module.discard_rest(receive), 5))
