"""A cache-aside cache of expensive answers (searches, counts, pages) in Redis, which all hosts share.

Each value contains a snapshot of PostgreSQL from before it was read. A host uses a value only if its snapshot includes
all changes that the host knows. So values are never deleted, and a restored Redis returns no outdated value.
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
"""It contains the version of the format of values."""
_MAX_VALUE_BYTES = 2**20


class Answers(Protocol):
    """A cache of answers that depend on all users."""

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """The cached answer of `key`, or else the computed one. Concurrent calls share one computation.

        Raises: the errors of `compute`
        """


class NoAnswers:
    """A null cache."""

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:  # noqa: ARG002
        """Compute."""
        return compute()


class RedisAnswers:
    """Errors of Redis are never raised. `ttl_s`: the maximum age of an answer."""

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
        # The view is read within the flight. An earlier view may lack a change that precedes a joining request.
        return self._flights.share(key, [USERS_KEY], lambda: self._get_or_compute(key, compute))

    def ping(self) -> None:
        """Check that Redis answers, if necessary on a new connection. Raises: RedisError, OSError"""
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

    def _get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        view = self._known.view([USERS_KEY])
        if view is None:
            return compute()
        name = f"{_PREFIX}{view.incarnation}:{key}"
        cached: bytes | None = None
        with self._redis() as redis:
            if redis is not None:
                cached = cast("bytes | None", redis.get(name))
        if cached is not None and (known := _accepted_answer(cached, view)) is not None:
            return known
        answer = compute()
        if len(answer) <= _MAX_VALUE_BYTES:
            with self._redis() as redis:
                if redis is not None:
                    redis.set(name, f"{view.snapshot}\n".encode() + answer, ex=self._ttl_s)
        return answer

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis | None]:
        """Redis, or None while it is unavailable. An error of Redis ends the block and opens the circuit breaker."""
        if self._client is None and self.breaker.up:
            self._connect_first()
        if not self.breaker.up:
            yield None
            return
        try:
            yield self._client
        except OutOfMemoryError:
            # Redis is full of values that it does not evict. It still answers.
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


def _accepted_answer(cached: bytes, view: View) -> bytes | None:
    """The answer in a value. None: it lacks a change that `view` has, or the value has another format."""
    snapshot, _, answer = cached.partition(b"\n")
    try:
        read_at = Snapshot.parse(snapshot.decode())
    except ValueError:
        return None
    return answer if view.accepts(read_at) else None
