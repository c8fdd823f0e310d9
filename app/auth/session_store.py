"""Sessions in Redis: a record under the digest of each secret, and an index of the sessions of each user.

Sessions have no TTL: Redis evicts keys with a TTL when memory is short, and must not evict a session to make room for a
cached page. Expired sessions are deleted when a session is created. The next secret of a renewed session has a TTL.
"""

import contextlib
import functools
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from redis import Redis
from redis.exceptions import OutOfMemoryError

from app.auth.permissions import Actor
from app.cache.redis_client import RedisStore, run_script
from app.config import Settings
from app.errors import N_
from app.types import Role, format_timestamp

_RECORD = "fsa:session:"
_OWNER = "fsa:sessions-of:"
_ENDS = "fsa:session-ends"
_NEXT = "fsa:session-next:"
_STORED_FIELDS = ("user_id", "role", "epoch", "created", "seen", "address", "agent")
_GRACE_S = 60
"""How long a renewed session accepts requests with its previous secret."""
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
# Longer than for a cached page: the request of a session that cannot be read is answered with 503.
_TIMEOUT_S = 0.25


@dataclass(frozen=True, slots=True)
class Session:
    """One session. Times are seconds since 1970; `id` is the SHA-256 of the secret in its cookie.

    idle_s, max_s: how long the session lasts without use, and in total, in seconds. name: of the user, if the session
    was resumed.
    """

    id: str
    user_id: uuid.UUID
    role: Role
    epoch: int
    created: float
    seen: float
    address: str | None
    agent: str | None
    idle_s: float
    max_s: float
    name: str | None = None

    @property
    def expires_at(self) -> float:
        """When the session ends if it is not used again."""
        return min(self.seen + self.idle_s, self.created + self.max_s)

    @property
    def actor(self) -> Actor:
        """The user of the session as an actor."""
        return Actor("session", self.user_id, self.role, self.id, authenticated_at=self.created)

    def public_fields(self) -> dict[str, Any]:
        """The fields that clients see, with times as RFC 3339."""
        times = {"created_at": self.created, "last_seen_at": self.seen, "expires_at": self.expires_at}
        formatted = {name: format_timestamp(datetime.fromtimestamp(value, UTC)) for name, value in times.items()}
        return {"id": self.id, "user_id": self.user_id, "address": self.address, "agent": self.agent, **formatted}

    def to_json(self) -> bytes:
        """The stored fields, as JSON."""
        return orjson.dumps({name: getattr(self, name) for name in _STORED_FIELDS})


class SessionStore(RedisStore):
    """Sessions by id. All methods raise Unavailable while Redis is unavailable."""

    unavailable_message = N_("Sessions are unavailable. Try again shortly, or use an API token.")
    full_message = N_("Redis has no memory for more sessions. Try again later, or use an API token.")

    def __init__(self, settings: Settings) -> None:
        super().__init__("sessions", settings.redis_address, _TIMEOUT_S)
        idle_s, max_s = 3600 * settings.session_idle_h, 86400 * settings.session_max_days
        self.new_session = functools.partial(Session, idle_s=idle_s, max_s=max_s)

    def create(self, session: Session, delete_keys: Sequence[str] = ()) -> None:
        """Store a new session, delete `delete_keys` in the same round trip, and delete some expired sessions."""
        owner = session.user_id.hex
        keys = (_RECORD + session.id, _OWNER + owner, _ENDS, *delete_keys)
        values = (session.to_json(), session.id, f"{session.id} {owner}", session.expires_at, time.time(), _MAX_SWEPT)
        with self._redis() as redis:
            expired = cast("list[bytes]", run_script(redis, _CREATE, keys, values))
            _delete(redis, [member.decode() for member in expired])

    def get(self, session_id: str) -> tuple[Session | None, bytes | None]:
        """A session, and the masked next secret of a session that was renewed. None: there is none."""
        with self._redis() as redis:
            record, following = cast("list[bytes | None]", redis.mget([_RECORD + session_id, _NEXT + session_id]))
        return None if record is None else self._parse(session_id, record), following

    def renew(self, session_id: str, new: Session, following: bytes) -> bytes | None:
        """Replace a session by one with another id. Of concurrent renewals the first replaces the session.

        following: the masked next secret; kept for _GRACE_S seconds.
        Returns `following` of the first renewal; None: the session does not exist.
        """
        owner = new.user_id.hex
        keys = (_RECORD + session_id, _RECORD + new.id, _OWNER + owner, _ENDS, _NEXT + session_id)
        values = (session_id, new.id, owner, new.to_json(), new.expires_at, following, _GRACE_S)
        with self._redis() as redis:
            return cast("bytes | None", run_script(redis, _RENEW, keys, values))

    def touch(self, session: Session) -> None:
        """Replace the record of a session. No effect if the session was deleted or Redis is full."""
        with self._redis() as redis, contextlib.suppress(OutOfMemoryError):
            if redis.set(_RECORD + session.id, session.to_json(), xx=True):
                redis.zadd(_ENDS, {f"{session.id} {session.user_id.hex}": session.expires_at}, xx=True)

    def delete(self, session_id: str, user_id: uuid.UUID) -> bool:
        """Delete a session of this user. Returns whether it existed."""
        with self._redis() as redis:
            if not redis.sismember(_OWNER + user_id.hex, session_id):
                return False
            return _delete(redis, [f"{session_id} {user_id.hex}"])

    def list_by_user(self, user_id: uuid.UUID) -> list[Session]:
        """The sessions of a user, valid or not."""
        with self._redis() as redis:
            ids = sorted(member.decode() for member in cast("set[bytes]", redis.smembers(_OWNER + user_id.hex)))
            records = cast("list[bytes | None]", redis.mget([_RECORD + one for one in ids])) if ids else []
        return [self._parse(one, record) for one, record in zip(ids, records, strict=True) if record is not None]

    def delete_all(self, user_id: uuid.UUID) -> bool:
        """Delete all sessions of a user. Returns whether there were any."""
        with self._redis() as redis:
            ids = cast("set[bytes]", redis.smembers(_OWNER + user_id.hex))
            return _delete(redis, [f"{session_id.decode()} {user_id.hex}" for session_id in ids])

    def count(self) -> int:
        """The number of sessions that have not expired. Sessions that a change of their user ended may count."""
        with self._redis() as redis:
            return redis.zcount(_ENDS, time.time(), "+inf")

    def _parse(self, session_id: str, record: bytes) -> Session:
        fields = orjson.loads(record)
        fields["user_id"] = uuid.UUID(fields["user_id"])
        return self.new_session(id=session_id, **fields)


def _delete(redis: Redis, members: Iterable[str]) -> bool:
    """Delete sessions, given as in _ENDS by id and owner, in one round trip. Returns whether any existed."""
    pipe = redis.pipeline()
    for member in members:
        session_id, _, owner = member.partition(" ")
        pipe.delete(_RECORD + session_id)
        pipe.srem(_OWNER + owner, session_id)
        pipe.zrem(_ENDS, member)
    # Without commands, it sends nothing.
    return any(pipe.execute())
