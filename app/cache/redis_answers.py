"""Expensive answers (searches, counts, pages) in Redis, shared by all hosts and kept over restarts.

Cache-aside. Each value carries a snapshot of PostgreSQL from before it was read. A host uses it only if it includes
every change that the host has heard of, so nobody has to delete anything in Redis, and what a Redis returns that was
restored or cut off for a while is never out of date.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from app.cache.generations import Generations
from app.cache.keys import USERS_KEY
from app.cache.known_changes import KnownChanges, Snapshot, View
from app.cache.redis_client import connected
from app.cache.single_flight import SingleFlight
from app.ops.circuit_breaker import CircuitBreaker

_PREFIX = "fsa:answer:2:"
"""With the version of the format of values."""
_MAX_VALUE_BYTES = 2**20


class Answers(Protocol):
    """A cache of answers about all users."""

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """The answer of `key`: kept, or computed and kept. Concurrent calls share one computation.

        Raises: what `compute` raises
        """


class NoAnswers:
    """Keeps nothing."""

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:  # noqa: ARG002
        """Compute."""
        return compute()


class RedisAnswers:
    """Never raises for the sake of Redis. `ttl_s`: the greatest age of an answer."""

    def __init__(
        self, url: str, timeout_s: float, ttl_s: int, *, generations: Generations, known_changes: KnownChanges
    ) -> None:
        self._url, self._timeout_s, self._ttl_s, self._known = url, timeout_s, ttl_s, known_changes
        self._client: Redis | None = None
        self._connecting = threading.Lock()
        self._flights = SingleFlight(generations)
        self.breaker = CircuitBreaker("cache", self._connect)

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """See Answers."""
        # The view is looked up within the flight: one from before it may lack a change that who joins knows of.
        return self._flights.share(key, [USERS_KEY], lambda: self._through(key, compute))

    def ping(self) -> None:
        """Raises: RedisError or OSError when Redis does not answer in time, on a fresh connection either."""
        with self._redis() as redis:
            if redis is not None:
                redis.ping()
                return
        self._connect()
        self.breaker.worked()

    def close(self) -> None:
        """Close all connections."""
        self.breaker.close()
        if self._client is not None:
            self._client.close()

    def _through(self, key: str, compute: Callable[[], bytes]) -> bytes:
        view = self._known.view([USERS_KEY])
        if view is None:
            return compute()
        name = f"{_PREFIX}{view.incarnation}:{key}"
        kept: bytes | None = None
        with self._redis() as redis:
            if redis is not None:
                kept = cast("bytes | None", redis.get(name))
        if kept is not None and (known := _accepted(kept, view)) is not None:
            return known
        answer = compute()
        if len(answer) <= _MAX_VALUE_BYTES:
            with self._redis() as redis:
                if redis is not None:
                    redis.set(name, f"{view.snapshot}\n".encode() + answer, ex=self._ttl_s)
        return answer

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis | None]:
        """Redis, or None while it is away. Errors of Redis inside the block end it, and open the circuit breaker."""
        if self._client is None and self.breaker.up:
            self._connect_first()
        if not self.breaker.up:
            yield None
            return
        try:
            yield self._client
        except OutOfMemoryError:
            # Full of what it does not evict: nothing is kept, but it answers.
            return
        except (RedisError, OSError) as error:
            self.breaker.failed(error)

    def _connect_first(self) -> None:
        with self._connecting:
            if self._client is None and self.breaker.up:
                try:
                    self._connect()
                except (RedisError, OSError) as error:
                    self.breaker.failed(error)

    def _connect(self) -> None:
        """Raises: RedisError, OSError"""
        self._client = connected(self._url, self._timeout_s)


def _accepted(kept: bytes, view: View) -> bytes | None:
    """The answer in a value, if it includes every change in `view`; None as well for a value that is not ours."""
    snapshot, _, answer = kept.partition(b"\n")
    try:
        read_at = Snapshot.parse(snapshot.decode())
    except ValueError:
        return None
    return answer if view.accepts(read_at) else None
