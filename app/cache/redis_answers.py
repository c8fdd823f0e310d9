"""A cache-aside cache of expensive answers (searches, counts, pages) in Redis, which all hosts share.

Each value contains a snapshot of PostgreSQL from before it was read. A host uses a value only if its snapshot includes
all changes that the host knows: its poller publishes them. So values are never deleted, and a restored Redis returns no
outdated value.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import cast

import orjson

from app import signals
from app.cache.generations import USERS_KEY, Generations
from app.cache.known_changes import KnownChanges, Snapshot
from app.cache.redis_client import RedisStore
from app.cache.single_flight import SingleFlight
from app.config import Settings
from app.errors import Unavailable

_PREFIX = "fsa:answer:3:"
"""It contains the version of the format of values."""
_MAX_VALUE_BYTES = 2**20


class RedisAnswers(RedisStore):
    """Answers that depend on all users, for CACHE_TTL_S; 0 disables the cache. Errors of Redis are never raised."""

    def __init__(self, settings: Settings, generations: Generations, known_changes: KnownChanges) -> None:
        super().__init__("cache", settings.redis_address, settings.redis_timeout_ms / 1000)
        self._ttl_s, self._known = settings.cache_ttl_s, known_changes
        self._flights = SingleFlight(generations)

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """The cached answer of `key`, or else the computed one. Concurrent calls share one computation.

        Raises: the errors of `compute`
        """
        if not self._ttl_s:
            for receive in signals.cache_read:
                receive("redis", "bypass")
            return compute()
        # The poll is read within the flight. An earlier poll may lack a change that precedes a joining request.
        return self._flights.share(key, [USERS_KEY], functools.partial(self._get_or_compute, key, compute))

    def _get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        poll = self._known.last_poll([USERS_KEY])
        name = "" if poll is None else f"{_PREFIX}{poll.incarnation}:{key}"
        answer, result = None, "bypass"
        if poll is not None:
            cached = b""
            with contextlib.suppress(Unavailable), self._redis() as redis:
                cached, result = cast("bytes | None", redis.get(name)) or b"", "miss"
            read_at, _, stored = cached.partition(b"\n")
            # A missing or damaged value is computed.
            with contextlib.suppress(ValueError, TypeError):
                if poll.accepts(Snapshot(*orjson.loads(read_at))):
                    answer, result = stored, "hit"
        for receive in signals.cache_read:
            receive("redis", result)
        if answer is not None:
            return answer
        answer = compute()
        if poll is not None and len(answer) <= _MAX_VALUE_BYTES:
            with contextlib.suppress(Unavailable), self._redis() as redis:
                redis.set(name, orjson.dumps([*poll.snapshot]) + b"\n" + answer, ex=self._ttl_s)
        return answer
