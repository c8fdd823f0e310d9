"""Signing in: who knows the password, counted, noted, and at the same price whoever it is."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import select, update

from app.auth import audit_log, passwords
from app.auth.audit_log import AuditContext
from app.auth.permissions import Actor
from app.auth.rate_limits import RateLimits
from app.auth.sessions import Session, Sessions
from app.auth.sql import WHO, WHO_BY_EMAIL
from app.db.database import Database
from app.errors import N_, Busy, FieldError, Forbidden, NotFound, PasswordRequired, RateLimited, Unauthorized
from app.identifiers import canonical
from app.models import users
from app.schemas import SignIn
from app.types import Precondition, Role

Result = TypeVar("Result")

_LIVE = users.c.deleted_at.is_(None)
_REFUSAL_S = 0.15
_WRONG = N_("The username or email, or the password, is not right.")


class _Known(NamedTuple):
    """What is known of who signs in."""

    id: uuid.UUID
    role: Role
    active: bool
    version: int
    session_epoch: int
    password_hash: str | None


class Login:
    """Checks passwords, and begins sessions. Every check is counted."""

    def __init__(self, database: Database, sessions: Sessions, rate_limits: RateLimits) -> None:
        self._database, self._sessions, self._rate_limits = database, sessions, rate_limits

    def sign_in(self, offered: SignIn, audit_context: AuditContext) -> tuple[str, Session]:
        """Begin a session for who knows the password. Returns its cookie, and the session.

        It takes the same time, and says the same, for an unknown user, a wrong password and
        an inactive user. Raises: Unauthorized, RateLimited, Unavailable
        """
        began = time.monotonic()
        # Before anything is counted: nobody could be let in.
        self._sessions.require_store()
        found = self._find(offered)
        try:
            guesses = self._count(found, offered, audit_context)
            user = self._require_user(found, offered, audit_context)
        except (Unauthorized, RateLimited) as error:
            if isinstance(error, Unauthorized) or error.is_new_lock:
                # What is noted of those who are there takes some ms more than nothing.
                time.sleep(max(0.0, began + _REFUSAL_S - time.monotonic()))
            raise
        if user.password_hash and passwords.is_outdated(user.password_hash):
            self._rehash(user, offered.password)
        self._rate_limits.forgive_here(guesses)
        own = replace(audit_context, actor=Actor("session", user.id, user.role))
        begun = self._sessions.begin(user.id, user.role, user.session_epoch, audit_context, forgiven=guesses)
        audit_log.record_event_now(self._database, own, user.id, user.version, "signed_in")
        return begun

    def with_password(
        self,
        offered: str | None,
        allowed: Precondition,
        audit_context: AuditContext,
        command: Callable[[Precondition, AuditContext], Result],
    ) -> Result:
        """Run `command`. If it needs the password of the signed-in user, check `offered` and run it again.

        Raises: PasswordRequired (none was offered), Forbidden (it is wrong), RateLimited, Unavailable, and what
        `command` raises
        """
        who = audit_context.actor
        # A password that is given has to be right, however short ago the sign-in was.
        asked_again = (
            audit_context if offered is None else replace(audit_context, actor=replace(who, authenticated_at=0.0))
        )
        try:
            return command(allowed, asked_again)
        except PasswordRequired:
            if offered is None or who.user_id is None:
                raise
        return command(*self.authenticated(who.user_id, offered, allowed, audit_context))

    def authenticated(
        self, user_id: uuid.UUID, offered: str, allowed: Precondition, audit_context: AuditContext
    ) -> tuple[Precondition, AuditContext]:
        """`allowed`, as long as nobody changes the user meanwhile, and `caller`, who has just given the right password.

        Raises: as require_password
        """
        checked = self.require_password(user_id, offered, audit_context)
        now = replace(audit_context, actor=replace(audit_context.actor, authenticated_at=time.time()))
        return lambda version: version == checked and allowed(version), now

    def require_password(self, user_id: uuid.UUID, offered: str, audit_context: AuditContext) -> int:
        """Ask for the password of who is signed in, counted like a sign-in. Returns the version of the user who has it.

        Raises: Forbidden, RateLimited, Unavailable
        """
        guesses = self._rate_limits.count_sign_in(user_id.hex, audit_context.address)
        with self._database.connection() as connection:
            columns = (users.c.id, users.c.version, users.c.password_hash)
            statement = select(*columns).where(users.c.id == user_id, _LIVE)
            user: Any = connection.execute(statement).one_or_none()
        if user is None or not passwords.verify(offered, user.password_hash):
            if user is not None:
                audit_log.record_event_now(self._database, audit_context, user.id, user.version, "sign_in_failed")
            raise Forbidden(
                N_("The current password is not right."), [FieldError("current_password", N_("is not right"))]
            )
        self._rate_limits.forgive(guesses)
        return int(user.version)

    def is_locked(self, user_id: uuid.UUID) -> bool:
        """Whether wrong passwords keep a user from signing in now, at least from one address. Raises: Unavailable"""
        with self._database.connection() as connection:
            origins = audit_log.origins_of_failures(connection, user_id)
        return self._rate_limits.is_locked(user_id.hex, origins)

    def unlock(self, user_id: uuid.UUID, audit_context: AuditContext) -> None:
        """Let a user sign in again at once, from wherever it failed. Raises: NotFound, Unavailable"""
        with self._database.transaction() as connection:
            version = connection.scalar(select(users.c.version).where(users.c.id == user_id, _LIVE))
            if version is None:
                raise NotFound(N_("There is no such user."))
            self._rate_limits.unlock(user_id.hex, audit_log.origins_of_failures(connection, user_id))
            audit_log.record_event(connection, audit_context, user_id, version, "unlocked")

    def _count(self, user: _Known | None, offered: SignIn, audit_context: AuditContext) -> list[str]:
        """What is to be forgiven when this attempt succeeds. Raises: RateLimited

        The attempts on an account count together, whether they name its username or its email.
        """
        account = user.id.hex if user is not None else f"unknown {canonical(offered.login)}"
        try:
            return self._rate_limits.count_sign_in(account, audit_context.address)
        except RateLimited as error:
            if error.is_new_lock and user is not None:
                audit_log.record_event_now(self._database, audit_context, user.id, user.version, "sign_in_locked")
            raise

    def _require_user(self, user: _Known | None, offered: SignIn, audit_context: AuditContext) -> _Known:
        """The user who may sign in so. Raises: Unauthorized"""
        is_right = passwords.verify(offered.password, user.password_hash if user else None)
        if user is not None and is_right and user.active:
            return user
        if user is not None:
            audit_log.record_event_now(self._database, audit_context, user.id, user.version, "sign_in_failed")
        raise Unauthorized(_WRONG)

    def _find(self, offered: SignIn) -> _Known | None:
        """The user of this email or, where a username is given, of this username or email. Raises: Unavailable"""
        key = canonical(offered.login)
        if "\0" in key:
            # PostgreSQL would read no further, and so try on one name what is counted for another.
            return None
        found = self._database.execute_prepared(WHO_BY_EMAIL if offered.username is None else WHO, key)
        if not found.ntuples:
            return None
        user_id, role, active, version, epoch = (_text(found.get_value(0, column)) for column in range(5))
        kept = found.get_value(0, 5)
        known = (uuid.UUID(user_id), cast("Role", role), active == "t", int(version), int(epoch))
        return _Known(*known, _text(kept) if kept is not None else None)

    def _rehash(self, user: _Known, password: str) -> None:
        """Keep the same password with today's parameters; a change at the same moment wins."""
        fresh = passwords.hash_password(passwords.normalize(password))
        # When somebody holds the user's row, the next sign-in does it.
        with suppress(Busy), self._database.transaction(user.id) as connection:
            unchanged = (users.c.id == user.id, users.c.password_hash == user.password_hash)
            connection.execute(update(users).where(*unchanged).values(password_hash=fresh))


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
