"""Sessions in Redis: a record under the digest of each secret, and an index of the sessions of each user.

No key has a TTL: Redis evicts keys with a TTL when memory is short, and must not evict a session to make room for a
cached page. Expired sessions are deleted when a session is created.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import cast

from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from app.cache.redis_client import open_client, run_script
from app.errors import N_, Unavailable
from app.ops.circuit_breaker import CircuitBreaker

_RECORD = "fsa:session:"
_OWNER = "fsa:sessions-of:"
_ENDS = "fsa:session-ends"
_NEXT = "fsa:session-next:"
_MAX_SWEPT = 100
"""Expired sessions that one creation deletes at most."""
# One script takes a third of the time of single commands.
_CREATE = """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
for at = 4, #KEYS do redis.call('DEL', KEYS[at]) end
return redis.call('ZRANGE', KEYS[3], '-inf', ARGV[5], 'BYSCORE', 'LIMIT', 0, ARGV[6])
"""
# The first of several concurrent renewals replaces the session. The others read the next secret that it left.
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
_FULL = N_("Redis has no memory for more sessions. Try again later, or use an API token.")
_UNAVAILABLE = N_("Sessions are unavailable. Try again shortly, or use an API token.")
# Longer than for a cached page: an unreadable session signs its user out.
_TIMEOUT_S = 0.25


class SessionStore:
    """Session records by id. All methods raise Unavailable while Redis is unavailable."""

    def __init__(self, url: str) -> None:
        self._client = open_client(url, _TIMEOUT_S)
        self.breaker = CircuitBreaker("sessions", self._client.ping)

    def create(
        self, session_id: str, owner: str, record: bytes, ends_at: float, *, delete_keys: Sequence[str] = ()
    ) -> None:
        """Store a new session, delete `delete_keys` in the same round trip, and delete some expired sessions."""
        keys = (_RECORD + session_id, _OWNER + owner, _ENDS, *delete_keys)
        values = (record, session_id, f"{session_id} {owner}", ends_at, time.time(), _MAX_SWEPT)
        with self._redis() as redis:
            expired = cast("list[bytes]", run_script(redis, _CREATE, keys, values))
            pipe = redis.pipeline()
            for member in expired:
                expired_id, _, expired_owner = member.decode().partition(" ")
                _delete(pipe, expired_id, expired_owner)
            # Without commands, it sends nothing.
            pipe.execute()

    def get(self, session_id: str) -> tuple[bytes | None, bytes | None]:
        """The record of a session, and the masked next secret of a session that was renewed. None: there is none."""
        with self._redis() as redis:
            record, following = cast("list[bytes | None]", redis.mget([_RECORD + session_id, _NEXT + session_id]))
            return record, following

    def renew(
        self, session_id: str, new_id: str, owner: str, record: bytes, ends_at: float, following: bytes, grace_s: int
    ) -> bytes | None:
        """Give a session another id and record. Of concurrent renewals the first replaces the session.

        following: the masked next secret; kept for `grace_s` seconds.
        Returns `following` of the first renewal; None: the session does not exist.
        """
        keys = (_RECORD + session_id, _RECORD + new_id, _OWNER + owner, _ENDS, _NEXT + session_id)
        values = (session_id, new_id, owner, record, ends_at, following, grace_s)
        with self._redis() as redis:
            return cast("bytes | None", run_script(redis, _RENEW, keys, values))

    def touch(self, session_id: str, owner: str, record: bytes, ends_at: float) -> None:
        """Replace the record of a session. No effect if the session was deleted or Redis is full."""
        with self._redis() as redis, contextlib.suppress(OutOfMemoryError):
            if redis.set(_RECORD + session_id, record, xx=True):
                redis.zadd(_ENDS, {f"{session_id} {owner}": ends_at}, xx=True)

    def delete(self, session_id: str, owner: str) -> bool:
        """Delete a session of this owner. Returns whether it existed."""
        with self._redis() as redis:
            if not redis.sismember(_OWNER + owner, session_id):
                return False
            pipe = redis.pipeline()
            _delete(pipe, session_id, owner)
            return bool(pipe.execute()[0])

    def list_by_owner(self, owner: str) -> list[tuple[str, bytes]]:
        """Ids and records of the sessions of an owner."""
        with self._redis() as redis:
            ids = sorted(member.decode() for member in cast("set[bytes]", redis.smembers(_OWNER + owner)))
            records = cast("list[bytes | None]", redis.mget([_RECORD + one for one in ids])) if ids else []
            return [(one, record) for one, record in zip(ids, records, strict=True) if record is not None]

    def delete_all(self, owner: str) -> int:
        """Delete all sessions of an owner. Returns their number."""
        with self._redis() as redis:
            ids = [member.decode() for member in cast("set[bytes]", redis.smembers(_OWNER + owner))]
            pipe = redis.pipeline()
            for one in ids:
                _delete(pipe, one, owner)
            pipe.execute()
            return len(ids)

    def count(self) -> int:
        """The number of sessions that have not expired."""
        with self._redis() as redis:
            return redis.zcount(_ENDS, time.time(), "+inf")

    def close(self) -> None:
        """Close all connections."""
        self.breaker.close()
        self._client.close()

    def require_up(self) -> None:
        """Raise Unavailable if the circuit breaker is open, without a request to Redis."""
        if not self.breaker.up:
            raise Unavailable(_UNAVAILABLE)

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis]:
        self.require_up()
        try:
            yield self._client
        except OutOfMemoryError:
            # Existing sessions can still be read, so the circuit stays closed.
            raise Unavailable(_FULL) from None
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            raise Unavailable(_UNAVAILABLE) from None


def _delete(pipe: Redis, session_id: str, owner: str) -> None:
    pipe.delete(_RECORD + session_id)
    pipe.srem(_OWNER + owner, session_id)
    pipe.zrem(_ENDS, f"{session_id} {owner}")
