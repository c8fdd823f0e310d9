"""Sessions of signed-in users: created, resumed and revoked.

Redis holds the records, PostgreSQL decides about their validity. Each use compares a session with its user. The session
ends if the user is inactive, deleted or has a newer session epoch (the password was changed). It gets a new id if the
role has changed. So a change ends sessions even if Redis was unavailable at that time.
"""

import base64
import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from app.auth import audit_log
from app.auth.permissions import AuditContext
from app.auth.session_store import Session, SessionStore
from app.auth.sql import GET_ACCOUNT_STATUS
from app.cache.generations import clock_ns, user_key
from app.cache.local import LocalCache
from app.db.database import Database
from app.errors import N_, NotFound, Unauthorized, Unavailable
from app.types import Role

# The secret (256 random bits) and the id of the user.
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}\.[0-9a-f]{32}", re.ASCII)
_TOUCH_INTERVAL_S = 60.0
_MAX_RENEWALS = 10
"""Renewals that a cookie is followed through, while the store keeps the next secrets."""
SESSION_ENDED = N_("This session has ended. Sign in again.")


class AccountStatus(NamedTuple):
    """The current state of a user. role: None if the user does not exist or is deleted."""

    role: Role | None
    active: bool
    epoch: int
    name: str | None = None


class Sessions:
    """Creates, resumes and revokes sessions. All methods raise Unavailable while Redis is unavailable."""

    def __init__(self, database: Database, store: SessionStore, local_cache: LocalCache) -> None:
        self._database, self.store, self._cache = database, store, local_cache

    def create(
        self,
        user_id: uuid.UUID,
        role: Role,
        epoch: int,
        audit_context: AuditContext,
        *,
        delete_keys: Sequence[str] = (),
    ) -> tuple[str, Session]:
        """Create a session of a user with this role and epoch. Returns its cookie and the session.

        delete_keys: keys that Redis deletes in the same round trip. Raises: Unavailable
        """
        secret, now = secrets.token_urlsafe(32), time.time()
        address, agent = audit_context.address, audit_context.agent
        session = self.store.new_session(_session_id(secret), user_id, role, epoch, now, now, address, agent)
        self.store.create(session, delete_keys)
        return f"{secret}.{user_id.hex}", session

    def create_after_reset(self, user_id: uuid.UUID, audit_context: AuditContext) -> tuple[str, Session]:
        """Create a session for a user whose own change ended all their sessions. Raises: Unavailable"""
        status = self._status(user_id)
        return self.create(user_id, status.role or "member", status.epoch, audit_context)

    def resume(self, cookie: str, audit_context: AuditContext, *, uncached: bool = False) -> tuple[Session, str | None]:
        """The session of a cookie, and a new cookie if the session was renewed (its user has another role).

        uncached: read the account status of the user from PostgreSQL. Raises: Unauthorized, Unavailable
        """
        session, current_cookie = self._read(cookie)
        status = self._status(session.user_id, uncached=uncached)
        if not uncached and not (status.role == session.role and _is_valid(session, status)):
            # The cached account status may be older than the session: PostgreSQL decides whether to end or renew it.
            status = self._status(session.user_id, uncached=True)
        if status.role is None or not _is_valid(session, status):
            self.store.delete(session.id, session.user_id)
            raise Unauthorized(SESSION_ENDED)
        has_new_role = status.role != session.role
        session = replace(session, role=status.role)
        if has_new_role:
            session, current_cookie = self._renew(current_cookie, session, audit_context)
        elif time.time() - session.seen > _TOUCH_INTERVAL_S:
            session = replace(session, seen=time.time())
            self.store.touch(session)
        # Only now: a renewal by a concurrent request returns the stored session, which has no name.
        return replace(session, name=status.name), current_cookie if current_cookie != cookie else None

    def get_list(self, user_id: uuid.UUID) -> list[Session]:
        """The valid sessions of a user, last seen first. Raises: NotFound, Unavailable"""
        status = self._status(user_id)
        if status.role is None:
            raise NotFound(N_("There is no such user."))
        valid = (session for session in self.store.list_by_user(user_id) if _is_valid(session, status))
        return sorted(valid, key=lambda session: session.seen, reverse=True)

    def revoke(
        self, user_id: uuid.UUID, session_id: str, audit_context: AuditContext, action: str = "session_ended"
    ) -> None:
        """End one session of a user. action: its name in the history. Raises: NotFound, Unavailable"""
        session, _ = self.store.get(session_id)
        is_valid = session is not None and _is_valid(session, self._status(user_id, uncached=True))
        if not (is_valid and self.store.delete(session_id, user_id)):
            raise NotFound(N_("There is no such session."))
        audit_log.record_event(self._database, audit_context, user_id, action)

    def revoke_all(self, user_id: uuid.UUID, audit_context: AuditContext) -> None:
        """End all sessions of a user. Raises: NotFound, Unavailable"""
        has_ended = self.store.delete_all(user_id)
        # Afterwards, because a purge deletes the sessions, too.
        is_found = self._status(user_id, uncached=True).role is not None
        if is_found and has_ended:
            is_found = audit_log.record_event(self._database, audit_context, user_id, "sessions_ended")
        if not is_found:
            raise NotFound(N_("There is no such user."))

    def delete_of_purged_user(self, user_id: uuid.UUID) -> None:
        """Delete the records of a purged user from Redis. They are invalid already, so an unavailable Redis is fine."""
        with suppress(Unavailable):
            self.store.delete_all(user_id)

    def discard(self, cookie: str) -> None:
        """Delete the session of a cookie that is being replaced. No effect on an invalid cookie. Raises: Unavailable"""
        with suppress(Unauthorized):
            session, _ = self._read(cookie)
            self.store.delete(session.id, session.user_id)

    def _renew(self, cookie: str, session: Session, audit_context: AuditContext) -> tuple[Session, str]:
        """Replace the secret of a session. Of concurrent requests, all get the secret of the first.

        Raises: Unauthorized, Unavailable
        """
        secret, random = cookie.partition(".")[0], secrets.token_bytes(32)
        new_secret, now = _encode(random), time.time()
        new_id, address, agent = _session_id(new_secret), audit_context.address, audit_context.agent
        new = replace(session, id=new_id, seen=now, address=address, agent=agent)
        following = _mask(secret, random)
        stored = self.store.renew(session.id, new, following)
        if stored is None:
            raise Unauthorized(SESSION_ENDED)
        return (new, f"{new_secret}.{session.user_id.hex}") if stored == following else self._read(cookie)

    def _read(self, cookie: str) -> tuple[Session, str]:
        """The session of a cookie and its current cookie, which differs if the session was renewed.

        Raises: Unauthorized, Unavailable
        """
        if not _COOKIE.fullmatch(cookie):
            raise Unauthorized(SESSION_ENDED)
        secret, _, owner = cookie.partition(".")
        for _ in range(_MAX_RENEWALS):
            session, following = self.store.get(_session_id(secret))
            if session is not None and session.user_id.hex == owner:
                return session, f"{secret}.{owner}"
            if following is None:
                break
            secret = _encode(_mask(secret, following))
        raise Unauthorized(SESSION_ENDED)

    def _status(self, user_id: uuid.UUID, *, uncached: bool = False) -> AccountStatus:
        """The state of a user. uncached: query PostgreSQL. Raises: Unavailable"""
        key = ("account status", user_id.hex)
        status: AccountStatus | None = None if uncached else self._cache.get(key)
        if status is None:
            began_ns = clock_ns()
            row = self._database.execute(GET_ACCOUNT_STATUS, {"user_id": user_id}).fetchone()
            status = AccountStatus(None, active=False, epoch=-1) if row is None else AccountStatus(*row)
            self._cache.put(key, status, [user_key(user_id)], began_ns)
        return status


def _is_valid(session: Session, status: AccountStatus) -> bool:
    return status.active and status.epoch == session.epoch and time.time() < session.expires_at


def _session_id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _encode(random: bytes) -> str:
    """Random bytes in the encoding of secrets.token_urlsafe."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def _mask(secret: str, random: bytes) -> bytes:
    """Mask the next secret with a digest of the current one, so Redis does not reveal it. Masking again unmasks it."""
    mask = hashlib.sha256(b"next:" + secret.encode()).digest()
    return bytes(one ^ other for one, other in zip(random, mask, strict=True))
