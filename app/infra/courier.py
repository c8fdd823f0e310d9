"""Hears through Redis what other hosts wrote, and holds the lease under which this host's memory may be used.

One thread for each host, in a process that serves no requests. It listens on CHANNEL and
asks PING on the same connection. Redis answers in order, so with the answer all has been heard that was told
before the question: for LEASE_S from then on this host's stamps are at most that old. A Redis that is away, or
slow, thus ends the lease by itself, and every process goes without its memory. While nobody wants to use memory the
courier listens but asks nothing, so that the lease ends as well.

When it is back, some find it sooner than others, and who has not yet can't tell of its writes. So the courier tells
of its host's doubts itself, before it asks, and after a loss, or an answer that came too late for a lease, it waits
for the couriers of other hosts before it holds one again.
"""

import contextlib
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import structlog
from redis.exceptions import RedisError

from app.infra.cache import CHANNEL, open_client, read_message, resolved, tell
from app.infra.shared import SharedState

log = structlog.get_logger(__name__)

LEASE_S = 0.1
"""How much older than another host's write an answer from memory may be."""
_ASK_EVERY_S = 0.03
_IDLE_LOOK_S = 2.5
"""While nobody wants memory, it looks that often whether somebody does again."""
_LONGEST_IDLE_S = 60.0
"""After so long it asks all the same, so that nothing between here and Redis forgets the connection."""
_PATIENCE_S = 1.0
"""A connection is given up after that: what was told meanwhile is lost, so that all that the host keeps is old."""
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_GRACE_S = _LONGEST_PAUSE_S + 2 * _PATIENCE_S
"""After so long every courier that can reach Redis has reached it: one that hangs, as it pauses, connects and asks."""


class Courier:
    """Runs from `start` to `close`; comes back by itself when Redis does."""

    def __init__(self, url: str, state: SharedState) -> None:
        self._url, self._state = url, state
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin to listen; the lease comes a moment later."""
        self._thread.start()

    def close(self) -> None:
        """End the lease and the thread."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._state.lease[0] = 0

    def _run(self) -> None:
        # Who starts it is about to ask.
        self._state.asked[0] = time.monotonic_ns()
        pause_s, grace_s = _PAUSE_S, 0.0
        while not self._closed.is_set():
            held = False
            try:
                for _ in self._leases(grace_s):
                    held, pause_s = True, _PAUSE_S
            except (RedisError, OSError) as error:
                if held:
                    log.warning("lost", what="courier", error=error.__class__.__name__)
            grace_s = _GRACE_S
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _leases(self, grace_s: float) -> Iterator[None]:
        """Listen, and yield each time that Redis answered, until closed. The first lease comes after `grace_s`.

        Raises: RedisError, OSError
        """
        from_ns = time.monotonic_ns() + int(1e9 * grace_s)
        client: Any = open_client(resolved(self._url), _PATIENCE_S)
        with contextlib.closing(client), client.pubsub() as ears:
            ears.subscribe(CHANNEL)
            while not self._closed.is_set():
                if not self._state.trusted:
                    tell(client, self._state)
                asked_ns = time.monotonic_ns()
                ears.ping()
                self._await_pong(ears)
                until_ns, now_ns = asked_ns + int(1e9 * LEASE_S), time.monotonic_ns()
                if now_ns >= until_ns:
                    # Redis hung so long that somebody gave up telling it: as after a loss.
                    from_ns = now_ns + int(1e9 * _GRACE_S)
                elif asked_ns >= from_ns:
                    self._state.lease[0] = until_ns
                yield
                self._listen(ears, asked_ns + int(1e9 * _ASK_EVERY_S))
                self._idle(ears)

    def _idle(self, ears: Any) -> None:
        """Only listen, while nobody wants memory and nothing is to be told."""
        until_ns = time.monotonic_ns() + int(1e9 * _LONGEST_IDLE_S)
        while not (self._state.is_asked or self._closed.is_set()) and self._state.trusted:
            now_ns = time.monotonic_ns()
            if now_ns >= until_ns:
                return
            self._listen(ears, now_ns + int(1e9 * _IDLE_LOOK_S))

    def _await_pong(self, ears: Any) -> None:
        """Hear all that was told before the question. Raises: RedisError, when no answer comes in time"""
        deadline = time.monotonic() + _PATIENCE_S
        while (left := deadline - time.monotonic()) > 0:
            heard = ears.get_message(timeout=left)
            self._hear(heard)
            if heard is not None and heard["type"] == "pong":
                return
        raise RedisError("Redis did not answer in time")

    def _listen(self, ears: Any, until_ns: int) -> None:
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            self._hear(ears.get_message(timeout=left_ns / 1e9))

    def _hear(self, heard: dict[str, Any] | None) -> None:
        if heard is None or heard["type"] == "pong":
            return
        slots: tuple[int, ...] = ()
        # The beginning of a subscription: nobody knows what was told before.
        if heard["type"] == "message":
            with contextlib.suppress(struct.error):
                host, slots = read_message(heard["data"])
                if host == self._state.host:
                    return
        if slots:
            self._state.touch(slots)
        else:
            self._state.touch_all()
