"""The cache in Redis: soft, so that losing it costs speed, and coherent, so that it never costs truth.

A stamp in one key of Redis keeps old values out: `epoch << 32 | generation`. Every write
adds one to the generation; a new random epoch makes all older values unreachable.

- A value is stored only if no write came since its reader began (compared in Redis),
  so a slow reader can't put an older value back.
- A value of scope PAGE is good for its generation only, one of scope ITEM for its
  epoch, until a write forgets its key.
- A write that Redis could not be told of raises a doubt (infra.shared): nobody on
  the host reads the cache until a new epoch has been set.
"""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from socket import IPPROTO_TCP, getaddrinfo
from typing import Protocol, cast
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.infra.link import Link
from app.infra.shared import SharedState

_PREFIX = "fsa:cache:"
_STAMP = f"{_PREFIX}stamp"
_STAMP_BYTES = 8
_MAX_VALUE_BYTES = 256 * 1024
# To forget a thousand keys takes 2 ms, 20,000 up to 65 ms: longer than any answer is waited for. Beyond
# this a new epoch forgets all that there is, in one short command.
_MOST_NAMED = 1000

_STORE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
end
"""

# INCR would make a lost stamp 1, which an earlier loss may have used already.
_FORGET = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SET', KEYS[1], ARGV[1])
else redis.call('INCR', KEYS[1]) end
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
"""


class Scope(Enum):
    """What makes a value old: any write at all, or one that names its key."""

    PAGE = "page"
    ITEM = "item"


class Cache(Protocol):
    """What services see of a cache."""

    def through(self, key: str, scope: Scope, compute: Callable[[], bytes]) -> bytes:
        """The value of `key`: kept, or computed now (once for a herd that asks at once) and then kept."""

    def beside(self, key: str) -> tuple[str, ...]:
        """The names in Redis of what `through` would read, for who reads more in one go; () when it would not."""

    def judged(self, scope: Scope, found: Sequence[bytes | None]) -> bytes | None:
        """The value, if what was found under those names is good; else None: go `through`."""

    def forget(self, keys: Iterable[str]) -> None:
        """After the commit of a write, before its answer: make older values of pages and of `keys` unreachable."""


class NullCache:
    """No cache: everything is computed."""

    def through(self, key: str, scope: Scope, compute: Callable[[], bytes]) -> bytes:  # noqa: ARG002
        """Compute."""
        return compute()

    def beside(self, key: str) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing."""
        return ()

    def judged(self, scope: Scope, found: Sequence[bytes | None]) -> bytes | None:  # noqa: ARG002
        """Nothing."""
        return None

    def forget(self, keys: Iterable[str]) -> None:
        """Do nothing: there is nothing to forget."""


@dataclass(eq=False, slots=True)
class _Flight:
    """One computation that others wait for."""

    done: threading.Event
    value: bytes | None = None


class RedisCache:
    """The cache proper. Never raises for Redis's sake."""

    def __init__(self, url: str, timeout_s: float, ttl_s: int, state: SharedState) -> None:
        self._url, self._timeout_s, self._ttl_s, self._state = url, timeout_s, ttl_s, state
        self._client: Redis | None = None
        self._flights: dict[tuple[str, bytes], _Flight] = {}
        self._first = threading.Lock()
        self.link = Link("cache", self._connect)

    def through(self, key: str, scope: Scope, compute: Callable[[], bytes]) -> bytes:
        """See Cache. What `compute` raises is raised."""
        stamp, value = self._look_up(_PREFIX + key, scope)
        if value is not None:
            return value
        if stamp is None:
            return compute()
        # The stamp is part of the flight: who asks after a write never shares a value from before it.
        flight = _Flight(threading.Event())
        leader = self._flights.setdefault((key, stamp), flight)
        if leader is not flight:
            leader.done.wait()
            return compute() if leader.value is None else leader.value
        try:
            flight.value = compute()
            self._store(_PREFIX + key, scope, stamp, flight.value)
            return flight.value
        finally:
            del self._flights[key, stamp]
            flight.done.set()

    def beside(self, key: str) -> tuple[str, ...]:
        """See Cache."""
        return (_STAMP, _PREFIX + key) if self._client and self.link.up and self._state.trusted else ()

    def judged(self, scope: Scope, found: Sequence[bytes | None]) -> bytes | None:
        """See Cache."""
        if found and (stamp := found[0]) is not None:
            return _good(stamp, found[1], scope)
        return None

    def forget(self, keys: Iterable[str]) -> None:
        """See Cache."""
        names = [_STAMP, *(_PREFIX + key for key in keys)]
        with self._redis() as redis:
            if redis is not None:
                if len(names) > _MOST_NAMED:
                    redis.set(_STAMP, _new_stamp())
                else:
                    redis.eval(_FORGET, len(names), *names, str(_new_stamp()))
                return
        self._state.doubt()

    def ping(self) -> None:
        """Raises: RedisError or OSError when Redis does not answer in time."""
        with self._redis() as redis:
            if redis is not None:
                redis.ping()
                return
        raise ConnectionError(self.link.error or "away")

    def close(self) -> None:
        """Close all connections."""
        self.link.close()
        if self._client is not None:
            self._client.close()

    def _look_up(self, key: str, scope: Scope) -> tuple[bytes | None, bytes | None]:
        """The stamp under which a value may be stored (None: don't) and the value, if there is a good one."""
        with self._redis() as redis:
            if redis is None:
                return None, None
            stamp, value = cast("list[bytes | None]", redis.mget(_STAMP, key))
            if stamp is None:
                stamp = str(_new_stamp()).encode()
                return (stamp if redis.set(_STAMP, stamp, nx=True) else None), None
            return stamp, _good(stamp, value, scope)
        return None, None

    def _store(self, key: str, scope: Scope, stamp: bytes, value: bytes) -> None:
        if len(value) > _MAX_VALUE_BYTES:
            return
        with self._redis() as redis:
            if redis is not None:
                redis.eval(_STORE, 2, _STAMP, key, stamp, _mark(stamp, scope) + value, str(self._ttl_s))

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis | None]:
        """Redis, or None while it is not to be asked. What goes wrong inside is swallowed, counted and remedied."""
        if self._client is None and self.link.up:
            self._connect_first()
        if not self._state.trusted and self.link.up:
            self.link.failed(RuntimeError("doubtful"))
        if not self.link.up:
            yield None
            return
        # How long an answer takes is for the socket to say: a clock around this would also measure how long
        # a thread waits for its turn in a busy process, and lose Redis just when it is needed.
        try:
            yield self._client
        except (RedisError, OSError) as error:
            self._state.doubt()
            self.link.failed(error)

    def _connect_first(self) -> None:
        with self._first:
            if self._client is None and self.link.up:
                try:
                    self._connect()
                except (RedisError, OSError) as error:
                    self.link.failed(error)

    def _connect(self) -> None:
        """Connect anew and make all that Redis held unreachable: it may have missed writes. Raises when it can't."""
        doubts = self._state.doubts
        client = open_client(resolved(self._url), self._timeout_s)
        try:
            if not self._state.trusted or self._client is None:
                client.set(_STAMP, _new_stamp())
            else:
                client.ping()
        except BaseException:
            client.close()
            raise
        self._state.settle(doubts)
        self._client = client


def open_client(url: str, timeout_s: float) -> Redis:
    """A client that gives up after `timeout_s` and never tries twice. Connects when it is first used."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
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


def _new_stamp() -> int:
    """A stamp of a new epoch: 30 random bits above 32 bits of generation, so it fits a signed 64-bit counter."""
    return secrets.randbits(30) << 32


def _good(stamp: bytes, value: bytes | None, scope: Scope) -> bytes | None:
    """What was kept, without its mark, if no write made it old."""
    if value is not None and value[:_STAMP_BYTES] == _mark(stamp, scope):
        return value[_STAMP_BYTES:]
    return None


def _mark(stamp: bytes, scope: Scope) -> bytes:
    """The eight bytes that a value begins with."""
    number = int(stamp)
    return (number if scope is Scope.PAGE else number >> 32).to_bytes(_STAMP_BYTES, "big")
