"""The cache of pages in Redis: soft, so that losing it costs speed, and coherent, so that it never costs truth.

A stamp in one key of Redis keeps old values out: every write gives it another value, by chance.

- A value is stored only if no write came since its reader began (compared in Redis), and is good
  only while the stamp is that of then; so a slow reader can't put an older value back.
- A write that Redis could not be told of raises a doubt (infra.shared): nobody on the host reads the
  cache until another stamp has been set, which the next one who reaches Redis does.
- A write tells the other hosts as well, through the same round trip: infra.courier hears it there.
"""

import contextlib
import re
import secrets
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from socket import IPPROTO_TCP, getaddrinfo
from typing import Any, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError
from redis.retry import Retry

from app.infra.asking import ask
from app.infra.flights import Flights
from app.infra.link import Link
from app.infra.shared import EVERY_WRITE, SLOTS, SharedState

_PREFIX = "fsa:cache:"
_STAMP = f"{_PREFIX}stamp"
_STAMP_BYTES = 8
_MAX_VALUE_BYTES = 256 * 1024
# Far more than any single change has; a thousand slots are 4 kB.
_MOST_NAMED = 1000

CHANNEL = f"fsa:changed:{SLOTS}"
"""Where writers say what they made old: the number of their host, then the slots; no slots: everything."""
_HOST = struct.Struct("<Q")
_RUN = re.compile(rb"run_id:(\w+)")
"""What tells one start of a server from another."""

_STORE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
end
"""
# One command of one script: half of what two commands in a pipeline take here.
_TELL = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('PUBLISH', KEYS[2], ARGV[2])"
# Where there is no room for a stamp: without one nobody reads what is kept.
_TELL_WITHOUT_ROOM = "redis.call('DEL', KEYS[1]) redis.call('PUBLISH', KEYS[2], ARGV[2])"


class Cache(Protocol):
    """What services see of a cache of pages."""

    def through(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """The value of `key`: kept, or computed now (once for a herd that asks at once) and then kept."""

    def forget(self, slots: Sequence[int]) -> bool:
        """After a write, before its answer: tell other hosts; if EVERY_WRITE is among them, pages are unreachable.

        Returns whether they could be told.
        """


class NullCache:
    """No cache: everything is computed."""

    def through(self, key: str, compute: Callable[[], bytes]) -> bytes:  # noqa: ARG002
        """Compute."""
        return compute()

    def forget(self, slots: Sequence[int]) -> bool:  # noqa: ARG002
        """Do nothing: there is nothing to forget."""
        return True


class RedisCache:
    """The cache proper. Never raises for Redis's sake."""

    def __init__(self, url: str, timeout_s: float, ttl_s: int, state: SharedState) -> None:
        self._url, self._timeout_s, self._ttl_s, self._state = url, timeout_s, ttl_s, state
        self._client: Redis | None = None
        self._server = b""
        self._flights = Flights()
        self._first = threading.Lock()
        self.link = Link("cache", self._connect)

    def through(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """See Cache. What `compute` raises is raised."""
        stamp, value = self._look_up(_PREFIX + key)
        if value is not None:
            return value
        if stamp is None:
            return compute()

        def computed() -> bytes:
            found = compute()
            self._store(_PREFIX + key, stamp, found)
            return found

        # The stamp is part of the flight: who asks after a write never shares a value from before it.
        return self._flights.share((key, stamp), computed)

    def forget(self, slots: Sequence[int]) -> bool:
        """See Cache."""
        with self._redis() as redis:
            if redis is not None:
                tell(redis, self._state, slots)
                return True
        self._state.doubt()
        return False

    def ping(self) -> None:
        """Raises: RedisError or OSError when Redis does not answer in time, on a fresh connection either."""
        with self._redis() as redis:
            if redis is not None:
                redis.ping()
                return
        self._connect()
        self.link.worked()

    def close(self) -> None:
        """Close all connections."""
        self.link.close()
        if self._client is not None:
            self._client.close()

    def _look_up(self, key: str) -> tuple[bytes | None, bytes | None]:
        """The stamp under which a value may be stored (None: don't) and the value, if there is a good one."""
        with self._redis() as redis:
            if redis is None:
                return None, None
            if not self._state.trusted:
                tell(redis, self._state)
            stamp, value = cast("list[bytes | None]", ask(redis, "MGET", _STAMP, key))
            if stamp is None:
                stamp = _new_stamp()
                return (stamp if redis.set(_STAMP, stamp, nx=True) else None), None
            if value is not None and value[:_STAMP_BYTES] == stamp:
                return stamp, value[_STAMP_BYTES:]
            return stamp, None
        return None, None

    def _store(self, key: str, stamp: bytes, value: bytes) -> None:
        if len(value) > _MAX_VALUE_BYTES:
            return
        with self._redis() as redis:
            if redis is not None:
                ask(redis, "EVAL", _STORE, 2, _STAMP, key, stamp, stamp + value, self._ttl_s)

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis | None]:
        """Redis, or None while it is not to be asked. What goes wrong inside is swallowed, counted and remedied."""
        if self._client is None and self.link.up:
            self._connect_first()
        if not self.link.up:
            yield None
            return
        # How long an answer takes is for the socket to say: a clock around this would also measure how long
        # a thread waits for its turn in a busy process, and lose Redis just when it is needed.
        try:
            yield self._client
        except OutOfMemoryError:
            # Full of what it does not evict. Nothing is kept then, but it answers.
            return
        except (RedisError, OSError) as error:
            self.link.failed(error)

    def _connect_first(self) -> None:
        with self._first:
            if self._client is None and self.link.up:
                try:
                    self._connect()
                except (RedisError, OSError) as error:
                    self.link.failed(error)

    def _connect(self) -> None:
        """Connect anew, and make all pages unreachable if the server is another one. Raises when it can't.

        One that was started again may hold what it held at some time before.
        """
        server = b""

        def greet(connection: Any) -> None:
            # A pool replaces a connection that has ended without a word, even by one to a server that began anew.
            nonlocal server
            connection.on_connect()
            connection.send_command("INFO", "server")
            found = _RUN.findall(connection.read_response())[0]
            if server not in (b"", found):
                raise ConnectionError("another server")
            server = found

        client = open_client(resolved(self._url), self._timeout_s, greet)
        try:
            client.ping()
            if not self._state.trusted or server != self._server:
                tell(client, self._state)
        except BaseException:
            client.close()
            raise
        self._client, self._server = client, server


def tell(redis: Redis, state: SharedState, slots: Sequence[int] = ()) -> None:
    """Let other hosts know what is old: all, if anything was not told before. Pages as `Cache.forget` says.

    Raises: RedisError or OSError
    """
    doubts, trusted = state.doubts, state.trusted
    said = message(state.host, slots if trusted else ())
    if trusted and slots and EVERY_WRITE not in slots:
        ask(redis, "PUBLISH", CHANNEL, said)
        return
    told = (2, _STAMP, CHANNEL, _new_stamp(), said)
    try:
        ask(redis, "EVAL", _TELL, *told)
    except OutOfMemoryError:
        ask(redis, "EVAL", _TELL_WITHOUT_ROOM, *told)
    if not trusted:
        state.settle(doubts)


def message(host: int, slots: Sequence[int]) -> bytes:
    """What a write of `host` says on CHANNEL. Very many slots are said to be all."""
    named = slots if len(slots) <= _MOST_NAMED else ()
    return _HOST.pack(host) + struct.pack(f"<{len(named)}I", *named)


def read_message(data: bytes) -> tuple[int, tuple[int, ...]]:
    """The host that wrote, and the slots of what it made old; none: everything. Raises: struct.error"""
    slots = struct.unpack_from(f"<{(len(data) - _HOST.size) // 4}I", data, _HOST.size)
    if max(slots, default=0) >= SLOTS:
        raise struct.error("no such slot")
    return _HOST.unpack_from(data)[0], slots


def open_client(url: str, timeout_s: float, greet: Callable[[Any], None] | None = None) -> Redis:
    """A client that gives up after `timeout_s` and never tries twice. Connects when it is first used.

    `greet`: what each of its connections does first, in place of its own `on_connect`.
    """
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        # Else each connection looks up its own library's version, and tells it in two round trips.
        driver_info=None,
        redis_connect_func=greet,
    )


def resolved(url: str) -> str:
    """`url` with its host as an address, so that no request waits for a name look-up. Raises: OSError.

    A certificate is checked against the name, so rediss:// keeps it.
    """
    parts = urlsplit(url)
    if parts.scheme != "redis" or not parts.hostname:
        return url
    address = str(getaddrinfo(parts.hostname, parts.port or 6379, proto=IPPROTO_TCP)[0][4][0])
    host = f"[{address}]" if ":" in address else address
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{parts.port or 6379}"))


def _new_stamp() -> bytes:
    """A stamp that there never was: eight random bytes."""
    return secrets.token_bytes(_STAMP_BYTES)
