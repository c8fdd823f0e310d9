"""A cache-aside cache of expensive answers (searches, counts, pages) in Redis, which all hosts share.

Each value contains a snapshot of PostgreSQL from before it was read. A host uses a value only if its snapshot includes
all changes that the host knows: its poller publishes them. So values are never deleted, and a restored Redis returns no
outdated value.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, cast

import orjson
from redis.exceptions import OutOfMemoryError, RedisError

from app.cache.generations import USERS_KEY, Generations
from app.cache.known_changes import KnownChanges, Snapshot
from app.cache.redis_client import connected
from app.cache.single_flight import SingleFlight
from app.ops.circuit_breaker import CircuitBreaker

_PREFIX = "fsa:answer:3:"
"""It contains the version of the format of values."""
_MAX_VALUE_BYTES = 2**20


class RedisAnswers:
    """Answers that depend on all users. Errors of Redis are never raised.

    ttl_s: the maximum age of an answer; 0 disables the cache.
    """

    def __init__(
        self, url: str, timeout_s: float, ttl_s: int, *, generations: Generations, known_changes: KnownChanges
    ) -> None:
        self._url, self._timeout_s, self._ttl_s, self._known = url, timeout_s, ttl_s, known_changes
        # Any, because redis-py has no types for execute_command.
        self._client: Any = None
        self._flights = SingleFlight(generations)
        self.breaker = CircuitBreaker("cache", self._connect)

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """The cached answer of `key`, or else the computed one. Concurrent calls share one computation.

        Raises: the errors of `compute`
        """
        if not self._ttl_s:
            return compute()
        # The poll is read within the flight. An earlier poll may lack a change that precedes a joining request.
        return self._flights.share(key, [USERS_KEY], functools.partial(self._get_or_compute, key, compute))

    def ping(self) -> None:
        """Check that Redis answers, if necessary on a new connection. Raises: RedisError, OSError"""
        if not self._execute("PING"):
            self._connect()
            self.breaker.worked()

    def close(self) -> None:
        """Close all connections."""
        self.breaker.close()
        if self._client is not None:
            self._client.close()

    def _get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        poll = self._known.last_poll([USERS_KEY])
        if poll is None:
            return compute()
        name = f"{_PREFIX}{poll.incarnation}:{key}"
        cached = self._execute("GET", name)
        if cached is not None:
            read_at, _, answer = cached.partition(b"\n")
            # A damaged value is computed again.
            with contextlib.suppress(ValueError, TypeError):
                if poll.accepts(Snapshot(*orjson.loads(read_at))):
                    return cast("bytes", answer)
        answer = compute()
        if len(answer) <= _MAX_VALUE_BYTES:
            self._execute("SET", name, orjson.dumps([*poll.snapshot]) + b"\n" + answer, "EX", self._ttl_s)
        return answer

    def _execute(self, *command: str | bytes | int) -> Any:
        """The reply to a command. None: there is none, or Redis is unavailable. An error opens the circuit breaker."""
        if not self.breaker.up:
            return None
        try:
            if self._client is None:
                self._connect()
            return self._client.execute_command(*command)
        except OutOfMemoryError:
            # Redis is full of values that it does not evict. It still answers.
            return None
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            return None

    def _connect(self) -> None:
        """Raises: RedisError, OSError"""
        self._client = connected(self._url, self._timeout_s)
