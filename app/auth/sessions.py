"""Sessions: who is signed in, and the end of it. Whether a session still counts, PostgreSQL decides.

Redis keeps what a session is; each use compares it with its user: inactive, deleted or of a
new epoch (the password changed) ends it, another role gives it a new id. So nothing that
Redis was not told of, because it was away, keeps anybody signed in.
"""

import base64
import functools
import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import orjson
from sqlalchemy import select

from app.auth import audit_log
from app.auth.audit_log import AuditContext
from app.auth.permissions import Actor
from app.auth.session_store import SessionStore
from app.auth.sql import ACCOUNT_STATUS
from app.cache.keys import user_key
from app.cache.local import LocalCache
from app.config import Settings
from app.db.database import Database
from app.errors import N_, NotFound, Unauthorized, Unavailable
from app.models import users
from app.types import Role, format_timestamp

# 256 random bits, and whose they are.
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}\.[0-9a-f]{32}", re.ASCII)
_SEEN_EVERY_S = 60.0
_GRACE_S = 60
"""How long requests that were sent with the id of before a renewal are still answered."""
_MOST_RENEWALS = 10
"""Of one session within that time; more are followed no further."""
_ENDED = N_("This session has ended. Sign in again.")


@dataclass(frozen=True, slots=True)
class Session:
    """One session. Times are seconds since 1970; `id` is the SHA-256 of the secret in its cookie.

    idle_s, max_s: how long it lasts without use, and in all, in seconds.
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

    @property
    def expires_at(self) -> float:
        """When the session ends if it is not used again."""
        return min(self.seen + self.idle_s, self.created + self.max_s)

    def is_expired(self) -> bool:
        """Whether the session has ended by the clock."""
        return time.time() >= self.expires_at

    @property
    def actor(self) -> Actor:
        """Whom it stands for."""
        return Actor("session", self.user_id, self.role, self.id, authenticated_at=self.created)

    def fields(self) -> dict[str, Any]:
        """What is shown of it."""
        moments = {"created_at": self.created, "last_seen_at": self.seen, "expires_at": self.expires_at}
        shown = {name: format_timestamp(datetime.fromtimestamp(value, UTC)) for name, value in moments.items()}
        return {"id": self.id, "user_id": self.user_id, "address": self.address, "agent": self.agent, **shown}


_KEPT = tuple(field.name for field in fields(Session) if field.name not in ("id", "idle_s", "max_s"))


class AccountStatus(NamedTuple):
    """What a user may do now. `role` is None when it is not there."""

    role: Role | None
    active: bool
    epoch: int


class Sessions:
    """Begins, resumes and ends sessions. All methods raise Unavailable while Redis is away."""

    def __init__(self, database: Database, store: SessionStore, local_cache: LocalCache, settings: Settings) -> None:
        self._database, self._store, self._cache = database, store, local_cache
        idle_s, max_s = 3600 * settings.session_idle_h, 86400 * settings.session_max_days
        self._session = functools.partial(Session, idle_s=idle_s, max_s=max_s)

    def begin(
        self,
        user_id: uuid.UUID,
        role: Role,
        epoch: int,
        audit_context: AuditContext,
        created: float | None = None,
        *,
        forgiven: Sequence[str] = (),
    ) -> tuple[str, Session]:
        """A new session of a user at this role and epoch, its cookie first. Raises: Unavailable

        Redis drops the keys of what is `forgiven` with it.
        """
        secret, now = secrets.token_urlsafe(32), time.time()
        session = self._session(
            _id(secret), user_id, role, epoch, created or now, now, audit_context.address, audit_context.agent
        )
        ends_at = session.expires_at
        self._store.begin(session.id, user_id.hex, _packed(session), ends_at, forgiven=forgiven)
        return f"{secret}.{user_id.hex}", session

    def close(self) -> None:
        """Close the connections to Redis."""
        self._store.close()

    def require_store(self) -> None:
        """Refuse while sessions can't be kept. Raises: Unavailable"""
        self._store.require_up()

    def begin_after_reset(self, user_id: uuid.UUID, audit_context: AuditContext) -> tuple[str, Session]:
        """A new session for a user whose sessions were all ended by what they did themselves. Raises: Unavailable"""
        status = self._status(user_id)
        return self.begin(user_id, status.role or "member", status.epoch, audit_context)

    def resume(
        self, cookie: str, audit_context: Callable[[], AuditContext], *, afresh: bool = False
    ) -> tuple[Session, str | None]:
        """The session that a cookie stands for, and another cookie when its role has changed.

        With `afresh` PostgreSQL is asked, not memory. Raises: Unauthorized, Unavailable
        """
        session, cookie_now = self._read(cookie)
        status = self._query_status(session.user_id) if afresh else self._status(session.user_id)
        if status.role is None or not status.active or status.epoch != session.epoch or session.is_expired():
            self._end(session.id, session.user_id)
            raise Unauthorized(_ENDED)
        if status.role != session.role:
            session, cookie_now = self._renew(cookie_now, replace(session, role=status.role), audit_context())
        elif time.time() - session.seen > _SEEN_EVERY_S:
            session = replace(session, seen=time.time())
            self._store.touch(session.id, session.user_id.hex, _packed(session), session.expires_at)
        return session, cookie_now if cookie_now != cookie else None

    def count(self) -> int:
        """How many sessions there are, about: some may be over and not swept out yet. Raises: Unavailable"""
        return self._store.count()

    def get_list(self, user_id: uuid.UUID) -> list[Session]:
        """The sessions of a user that are not over, last seen first. Raises: NotFound, Unavailable"""
        status = self._status(user_id)
        if status.role is None:
            raise NotFound(N_("There is no such user."))
        found = [self._unpacked(session_id, record) for session_id, record in self._store.of_owner(user_id.hex)]
        live = (one for one in found if one.epoch == status.epoch and not one.is_expired())
        return sorted(live, key=lambda one: one.seen, reverse=True) if status.active else []

    def end(
        self, user_id: uuid.UUID, session_id: str, audit_context: AuditContext, action: str = "session_ended"
    ) -> None:
        """End one session of a user. Raises: NotFound, Unavailable"""
        if not self._end(session_id, user_id):
            raise NotFound(N_("There is no such session."))
        self._record(user_id, audit_context, action)

    def end_all(self, user_id: uuid.UUID, audit_context: AuditContext) -> None:
        """End all sessions of a user. Raises: NotFound, Unavailable"""
        if self._status(user_id).role is None:
            raise NotFound(N_("There is no such user."))
        if self._end_all(user_id):
            self._record(user_id, audit_context, "sessions_ended")

    def forget(self, user_id: uuid.UUID) -> None:
        """Take from Redis, if it can be told, what it keeps of the sessions of a purged user: they are over already."""
        with suppress(Unavailable):
            self._end_all(user_id)

    def drop(self, cookie: str) -> None:
        """End the session of a cookie that is being replaced, if there is one. Raises: Unavailable"""
        try:
            session, _ = self._read(cookie)
        except Unauthorized:
            return
        self._end(session.id, session.user_id)

    def _end(self, session_id: str, user_id: uuid.UUID) -> bool:
        """Whether there was such a session. Raises: Unavailable"""
        return self._store.end(session_id, user_id.hex)

    def _end_all(self, user_id: uuid.UUID) -> int:
        """How many there were. Raises: Unavailable"""
        return self._store.end_all(user_id.hex)

    def _renew(self, cookie: str, session: Session, audit_context: AuditContext) -> tuple[Session, str]:
        """Go on under another id: that of the first of several requests at once. Raises: Unauthorized, Unavailable"""
        secret, random = cookie.partition(".")[0], secrets.token_bytes(32)
        new_secret, now = _text(random), time.time()
        new = replace(session, id=_id(new_secret), seen=now, address=audit_context.address, agent=audit_context.agent)
        owner, following = session.user_id.hex, _masked(secret, random)
        left = self._store.renew(session.id, new.id, owner, _packed(new), new.expires_at, following, _GRACE_S)
        if left is None:
            raise Unauthorized(_ENDED)
        return (new, f"{new_secret}.{owner}") if left == following else self._read(cookie)

    def _read(self, cookie: str) -> tuple[Session, str]:
        """The session of a cookie, or the one that it goes on as, and the cookie of that."""
        if not _COOKIE.fullmatch(cookie):
            raise Unauthorized(_ENDED)
        secret, _, owner = cookie.partition(".")
        for _ in range(_MOST_RENEWALS):
            record, following = self._store.read(_id(secret))
            if record is not None:
                session = self._unpacked(_id(secret), record)
                if session.user_id.hex == owner:
                    return session, f"{secret}.{owner}"
            if following is None:
                break
            secret = _text(_masked(secret, following))
        raise Unauthorized(_ENDED)

    def _unpacked(self, session_id: str, record: bytes) -> Session:
        fields = orjson.loads(record)
        fields["user_id"] = uuid.UUID(fields["user_id"])
        return self._session(id=session_id, **fields)

    def _status(self, user_id: uuid.UUID) -> AccountStatus:
        """What a user may do now: known already, or by one SELECT. Raises: Unavailable"""
        key = user_key(user_id)
        return self._cache.get_or_compute(("account status", user_id.hex), [key], lambda: self._query_status(user_id))

    def _query_status(self, user_id: uuid.UUID) -> AccountStatus:
        found = self._database.execute_prepared(ACCOUNT_STATUS, user_id)
        if not found.ntuples:
            return AccountStatus(None, active=False, epoch=-1)
        role, active, epoch = ((found.get_value(0, column) or b"").decode() for column in range(3))
        return AccountStatus(cast("Role", role), active == "t", int(epoch))

    def _record(self, user_id: uuid.UUID, audit_context: AuditContext, action: str) -> None:
        with self._database.connection() as connection:
            version = connection.scalar(select(users.c.version).where(users.c.id == user_id))
        audit_log.record_event_now(self._database, audit_context, user_id, version or 1, action)


def _packed(session: Session) -> bytes:
    return orjson.dumps({name: getattr(session, name) for name in _KEPT})


def _id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _text(random: bytes) -> str:
    """As secrets.token_urlsafe writes it."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def _masked(secret: str, random: bytes) -> bytes:
    """The bytes of the next secret so that only who has this one can read them, and the other way round."""
    mask = hashlib.sha256(b"next:" + secret.encode()).digest()
    return bytes(one ^ other for one, other in zip(random, mask, strict=True))
