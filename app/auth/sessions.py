"""Sessions: who is signed in, and the end of it. Whether a session still counts, PostgreSQL decides.

Redis keeps what a session is; each use compares it with its user: inactive, deleted or of a
new epoch (the password changed) ends it, another role gives it a new id. So nothing that
Redis was not told of, because it was away, keeps anybody signed in.
"""

import base64
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
from app.auth.sql import STANDING
from app.cache.keys import user_key
from app.errors import N_, NotFound, Unauthorized, Unavailable
from app.extensions import Resources, asked, local_cache, reading, resources
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
    """One session. Times are seconds since 1970; `id` is the SHA-256 of the secret in its cookie."""

    id: str
    user_id: uuid.UUID
    role: Role
    epoch: int
    created: float
    seen: float
    address: str | None
    agent: str | None

    def ends_at(self) -> float:
        """When it is over, if it is not used again."""
        settings = resources().settings
        return min(self.seen + 3600 * settings.session_idle_h, self.created + 86400 * settings.session_max_days)

    def is_over(self) -> bool:
        """Whether its time has come."""
        return time.time() >= self.ends_at()

    @property
    def actor(self) -> Actor:
        """Whom it stands for."""
        return Actor("session", self.user_id, self.role, self.id, authenticated_at=self.created)

    def fields(self) -> dict[str, Any]:
        """What is shown of it."""
        moments = {"created_at": self.created, "last_seen_at": self.seen, "expires_at": self.ends_at()}
        shown = {name: format_timestamp(datetime.fromtimestamp(value, UTC)) for name, value in moments.items()}
        return {"id": self.id, "user_id": self.user_id, "address": self.address, "agent": self.agent, **shown}


_KEPT = tuple(field.name for field in fields(Session) if field.name != "id")


class Standing(NamedTuple):
    """What a user may do now. `role` is None when it is not there."""

    role: Role | None
    active: bool
    epoch: int


def begin(
    user_id: uuid.UUID,
    role: Role,
    epoch: int,
    caller: AuditContext,
    created: float | None = None,
    *,
    forgiven: Sequence[str] = (),
) -> tuple[str, Session]:
    """A new session of a user at this role and epoch, its cookie first. Raises: Unavailable

    Redis drops the keys of what is `forgiven` with it.
    """
    secret, now = secrets.token_urlsafe(32), time.time()
    session = Session(_id(secret), user_id, role, epoch, created or now, now, caller.address, caller.agent)
    ends_at = session.ends_at()
    _store().begin(session.id, user_id.hex, _packed(session), ends_at, forgiven=forgiven)
    return f"{secret}.{user_id.hex}", session


def require_store() -> None:
    """Refuse while sessions can't be kept. Raises: Unavailable"""
    _store().require_up()


def renewed(user_id: uuid.UUID, caller: AuditContext) -> tuple[str, Session]:
    """A new session for a user whose sessions were all ended by what they did themselves. Raises: Unavailable"""
    standing = _standing(user_id)
    return begin(user_id, standing.role or "member", standing.epoch, caller)


def resume(cookie: str, caller: Callable[[], AuditContext], *, afresh: bool = False) -> tuple[Session, str | None]:
    """The session that a cookie stands for, and another cookie when its role has changed.

    With `afresh` PostgreSQL is asked, not memory. Raises: Unauthorized, Unavailable
    """
    session, cookie_now = _read(cookie)
    standing = _looked_up(session.user_id) if afresh else _standing(session.user_id)
    if standing.role is None or not standing.active or standing.epoch != session.epoch or session.is_over():
        _end(session.id, session.user_id)
        raise Unauthorized(_ENDED)
    if standing.role != session.role:
        session, cookie_now = _renew(cookie_now, replace(session, role=standing.role), caller())
    elif time.time() - session.seen > _SEEN_EVERY_S:
        session = replace(session, seen=time.time())
        _store().touch(session.id, session.user_id.hex, _packed(session), session.ends_at())
    return session, cookie_now if cookie_now != cookie else None


def how_many() -> int:
    """How many sessions there are, about: some may be over and not swept out yet. Raises: Unavailable"""
    return _store().how_many()


def of_user(user_id: uuid.UUID) -> list[Session]:
    """The sessions of a user that are not over, last seen first. Raises: NotFound, Unavailable"""
    standing = _standing(user_id)
    if standing.role is None:
        raise NotFound(N_("There is no such user."))
    found = [_unpacked(session_id, record) for session_id, record in _store().of_owner(user_id.hex)]
    live = (one for one in found if one.epoch == standing.epoch and not one.is_over())
    return sorted(live, key=lambda one: one.seen, reverse=True) if standing.active else []


def end(user_id: uuid.UUID, session_id: str, caller: AuditContext, action: str = "session_ended") -> None:
    """End one session of a user. Raises: NotFound, Unavailable"""
    if not _end(session_id, user_id):
        raise NotFound(N_("There is no such session."))
    _note(user_id, caller, action)


def end_all(user_id: uuid.UUID, caller: AuditContext) -> None:
    """End all sessions of a user. Raises: NotFound, Unavailable"""
    if _standing(user_id).role is None:
        raise NotFound(N_("There is no such user."))
    if _end_all(user_id):
        _note(user_id, caller, "sessions_ended")


def forget(user_id: uuid.UUID) -> None:
    """Take from Redis, if it can be told, what it keeps of the sessions of a purged user: they are over already."""
    with suppress(Unavailable):
        _end_all(user_id)


def drop(cookie: str) -> None:
    """End the session of a cookie that is being replaced, if there is one. Raises: Unavailable"""
    try:
        session, _ = _read(cookie)
    except Unauthorized:
        return
    _end(session.id, session.user_id)


def _store() -> SessionStore:
    return resources().part(_opened)


def _opened(held: Resources) -> SessionStore:
    store = SessionStore(held.settings.redis_address)
    held.at_close(store.close)
    return store


def _end(session_id: str, user_id: uuid.UUID) -> bool:
    """Whether there was such a session. Raises: Unavailable"""
    return _store().end(session_id, user_id.hex)


def _end_all(user_id: uuid.UUID) -> int:
    """How many there were. Raises: Unavailable"""
    return _store().end_all(user_id.hex)


def _renew(cookie: str, session: Session, caller: AuditContext) -> tuple[Session, str]:
    """Go on under another id: that of the first of several requests at once. Raises: Unauthorized, Unavailable"""
    secret, random = cookie.partition(".")[0], secrets.token_bytes(32)
    new_secret, now = _text(random), time.time()
    new = replace(session, id=_id(new_secret), seen=now, address=caller.address, agent=caller.agent)
    owner, following = session.user_id.hex, _masked(secret, random)
    left = _store().renew(session.id, new.id, owner, _packed(new), new.ends_at(), following, _GRACE_S)
    if left is None:
        raise Unauthorized(_ENDED)
    return (new, f"{new_secret}.{owner}") if left == following else _read(cookie)


def _read(cookie: str) -> tuple[Session, str]:
    """The session of a cookie, or the one that it goes on as, and the cookie of that."""
    if not _COOKIE.fullmatch(cookie):
        raise Unauthorized(_ENDED)
    secret, _, owner = cookie.partition(".")
    for _ in range(_MOST_RENEWALS):
        record, following = _store().read(_id(secret))
        if record is not None:
            session = _unpacked(_id(secret), record)
            if session.user_id.hex == owner:
                return session, f"{secret}.{owner}"
        if following is None:
            break
        secret = _text(_masked(secret, following))
    raise Unauthorized(_ENDED)


def _standing(user_id: uuid.UUID) -> Standing:
    """What a user may do now: known already, or by one SELECT. Raises: Unavailable"""
    key = user_key(user_id)
    return local_cache().get_or_compute(("standing", user_id.hex), [key], lambda: _looked_up(user_id))


def _looked_up(user_id: uuid.UUID) -> Standing:
    found = asked(STANDING, user_id)
    if not found.ntuples:
        return Standing(None, active=False, epoch=-1)
    role, active, epoch = ((found.get_value(0, column) or b"").decode() for column in range(3))
    return Standing(cast("Role", role), active == "t", int(epoch))


def _note(user_id: uuid.UUID, caller: AuditContext, action: str) -> None:
    with reading() as connection:
        version = connection.scalar(select(users.c.version).where(users.c.id == user_id))
    audit_log.note(caller, user_id, version or 1, action)


def _packed(session: Session) -> bytes:
    return orjson.dumps({name: getattr(session, name) for name in _KEPT})


def _unpacked(session_id: str, record: bytes) -> Session:
    fields = orjson.loads(record)
    fields["user_id"] = uuid.UUID(fields["user_id"])
    return Session(id=session_id, **fields)


def _id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _text(random: bytes) -> str:
    """As secrets.token_urlsafe writes it."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def _masked(secret: str, random: bytes) -> bytes:
    """The bytes of the next secret so that only who has this one can read them, and the other way round."""
    mask = hashlib.sha256(b"next:" + secret.encode()).digest()
    return bytes(one ^ other for one, other in zip(random, mask, strict=True))
