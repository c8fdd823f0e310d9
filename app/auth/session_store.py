"""Sessions in Redis: records under the digest of their secret, and an index of those of each owner.

No key has a TTL: what has one may be evicted for want of memory, and a session must never go
for the sake of a cached page. What is over is swept out whenever a session begins.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import cast

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from app.cache.redis_client import connected, run_script
from app.errors import N_, Unavailable
from app.ops.circuit_breaker import CircuitBreaker

_RECORD = "fsa:session:"
_OWNER = "fsa:sessions-of:"
_ENDS = "fsa:session-ends"
_NEXT = "fsa:session-next:"
_SWEPT_AT_ONCE = 100
# One command of one script takes a third of what these take one by one.
_BEGIN = """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
for at = 4, #KEYS do redis.call('DEL', KEYS[at]) end
return redis.call('ZRANGE', KEYS[3], '-inf', ARGV[5], 'BYSCORE', 'LIMIT', 0, ARGV[6])
"""
# The first of several that renew a session at once does it; the others get what the first has left for them.
_RENEW = """
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.call('GET', KEYS[5]) end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1] .. ' ' .. ARGV[3])
redis.call('SET', KEYS[2], ARGV[4])
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[5], ARGV[2] .. ' ' .. ARGV[3])
redis.call('SET', KEYS[5], ARGV[6], 'EX', ARGV[7])
return ARGV[6]
"""
_FULL = N_("There is no room for more sessions. Try again later, or use an API token.")
_AWAY = N_("Sessions are out of reach. Try again shortly, or use an API token.")
# A session that can't be read means being signed out, so it is waited for longer than a cached page.
_TIMEOUT_S = 0.25


class SessionStore:
    """Sessions by id. All methods raise Unavailable while Redis is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Redis | None = None
        self.breaker = CircuitBreaker("sessions", self._connect)

    def begin(
        self,
        session_id: str,
        owner: str,
        record: bytes,
        ends_at: float,
        *,
        forgiven: Sequence[str] = (),
    ) -> None:
        """Keep a new session, drop the keys of what it forgives, and sweep out some that are over."""
        keys = (_RECORD + session_id, _OWNER + owner, _ENDS, *forgiven)
        values = (record, session_id, f"{session_id} {owner}", ends_at, time.time(), _SWEPT_AT_ONCE)
        with self._redis() as redis:
            over = cast("list[bytes]", run_script(redis, _BEGIN, keys, values))
            if over:
                _sweep(redis, over)

    def read(self, session_id: str) -> tuple[bytes | None, bytes | None]:
        """The record of a session, or None, and what was left for who still asks for it by an id that was replaced."""
        with self._redis() as redis:
            record, following = cast("list[bytes | None]", redis.mget([_RECORD + session_id, _NEXT + session_id]))
            return record, following

    def renew(
        self, session_id: str, new_id: str, owner: str, record: bytes, ends_at: float, following: bytes, grace_s: int
    ) -> bytes | None:
        """Give a session another id and record; exactly one of several who try at once does.

        Returns what the one who did it left for the others, for `grace_s`; None: there is no such session.
        """
        keys = (_RECORD + session_id, _RECORD + new_id, _OWNER + owner, _ENDS, _NEXT + session_id)
        values = (session_id, new_id, owner, record, ends_at, following, grace_s)
        with self._redis() as redis:
            return cast("bytes | None", run_script(redis, _RENEW, keys, values))

    def touch(self, session_id: str, owner: str, record: bytes, ends_at: float) -> None:
        """Replace a record, unless the session was ended meanwhile, or Redis is full."""
        with self._redis() as redis, contextlib.suppress(OutOfMemoryError):
            if redis.set(_RECORD + session_id, record, xx=True):
                redis.zadd(_ENDS, {f"{session_id} {owner}": ends_at}, xx=True)

    def end(self, session_id: str, owner: str) -> bool:
        """End one session, if it is of this owner. Returns whether there was one."""
        with self._redis() as redis:
            if not redis.sismember(_OWNER + owner, session_id):
                return False
            pipe = redis.pipeline()
            _drop(pipe, session_id, owner)
            return bool(pipe.execute()[0])

    def of_owner(self, owner: str) -> list[tuple[str, bytes]]:
        """Ids and records of an owner's sessions."""
        with self._redis() as redis:
            ids = sorted(member.decode() for member in cast("set[bytes]", redis.smembers(_OWNER + owner)))
            records = cast("list[bytes | None]", redis.mget([_RECORD + one for one in ids])) if ids else []
            return [(one, record) for one, record in zip(ids, records, strict=True) if record is not None]

    def end_all(self, owner: str) -> int:
        """End all sessions of an owner. Returns how many there were."""
        with self._redis() as redis:
            ids = [member.decode() for member in cast("set[bytes]", redis.smembers(_OWNER + owner))]
            pipe = redis.pipeline()
            for one in ids:
                _drop(pipe, one, owner)
            pipe.execute()
            return len(ids)

    def count(self) -> int:
        """How many sessions are not over by the clock."""
        with self._redis() as redis:
            return redis.zcount(_ENDS, time.time(), "+inf")

    def close(self) -> None:
        """Close all connections."""
        self.breaker.close()
        if self._client is not None:
            self._client.close()

    def require_up(self) -> None:
        """Refuse while Redis is known to be away."""
        if not self.breaker.up:
            raise Unavailable(_AWAY)

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis]:
        if self.breaker.up:
            try:
                if self._client is None:
                    self._connect()
                yield cast("Redis", self._client)
            except OutOfMemoryError:
                # Others than new sessions are still to be had.
                raise Unavailable(_FULL) from None
            except (RedisError, OSError) as error:
                self.breaker.failed(error)
            else:
                return
        raise Unavailable(_AWAY)

    def _connect(self) -> None:
        self._client = connected(self._url, _TIMEOUT_S)


def _sweep(redis: Redis, over: list[bytes]) -> None:
    pipe = redis.pipeline()
    for member in over:
        session_id, _, owner = member.decode().partition(" ")
        _drop(pipe, session_id, owner)
    pipe.execute()


def _drop(pipe: Redis, session_id: str, owner: str) -> None:
    pipe.delete(_RECORD + session_id)
    pipe.srem(_OWNER + owner, session_id)
    pipe.zrem(_ENDS, f"{session_id} {owner}")
