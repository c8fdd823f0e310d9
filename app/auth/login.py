"""Sign-in and password checks. Every attempt is counted and recorded, and refusals take the same time for any user."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, TypeVar

from sqlalchemy import select, update

from app import signals
from app.auth import audit_log, passwords
from app.auth.permissions import Actor, AuditContext
from app.auth.rate_limits import RateLimits
from app.auth.schemas import SignIn
from app.auth.session_store import Session
from app.auth.sessions import Sessions
from app.auth.sql import FIND_LOGIN, FIND_LOGIN_BY_EMAIL
from app.db.database import Database
from app.errors import N_, Busy, FieldError, Forbidden, NotFound, PasswordRequired, RateLimited, Unauthorized
from app.identifiers import canonical
from app.models import NOT_IN_TRASH, users
from app.types import Precondition, Role

Result = TypeVar("Result")

REFUSAL_S = 0.15
"""The duration of every refused sign-in: longer than it takes to record one."""
_WRONG = N_("The username, email or password is incorrect.")


class _LoginUser(NamedTuple):
    """The columns of a user that sign-in needs."""

    id: uuid.UUID
    role: Role
    active: bool
    session_epoch: int
    password_hash: str | None


class Login:
    """Checks passwords and creates sessions. Counts every check."""

    def __init__(self, database: Database, sessions: Sessions, rate_limits: RateLimits) -> None:
        self._database, self._sessions, self._rate_limits = database, sessions, rate_limits

    def sign_in(self, credentials: SignIn, audit_context: AuditContext) -> tuple[str, Session]:
        """Create a session for the user of these credentials. Returns its cookie and the session.

        Time and message are the same for an unknown user, a wrong password and an inactive user.
        Raises: Unauthorized, RateLimited, Unavailable
        """
        started = time.monotonic()
        # First, because an attempt must not be counted if no session could be stored.
        self._sessions.store.require_up()
        found = self._find(credentials)
        try:
            failure_keys = self._count_attempt(found, credentials, audit_context)
            user = self._authenticate(found, credentials, audit_context)
        except (Unauthorized, RateLimited) as error:
            for receive in signals.sign_in_ended:
                receive("refused" if isinstance(error, Unauthorized) else "limited")
            if isinstance(error, Unauthorized) or error.is_new_lock:
                # Recording the failure of an existing user takes some ms, so every refusal waits for a fixed time.
                time.sleep(max(0.0, started + REFUSAL_S - time.monotonic()))
            raise
        if user.password_hash and passwords.is_outdated(user.password_hash):
            self._rehash(user, credentials.password)
        self._rate_limits.reset_local_failures(failure_keys)
        cookie_and_session = self._sessions.create(
            user.id, user.role, user.session_epoch, audit_context, delete_keys=failure_keys
        )
        own_context = replace(audit_context, actor=Actor("session", user.id, user.role))
        audit_log.record_event(self._database, own_context, user.id, "signed_in")
        for receive in signals.sign_in_ended:
            receive("succeeded")
        return cookie_and_session

    def run_with_password(
        self,
        password: str | None,
        precondition: Precondition,
        audit_context: AuditContext,
        command: Callable[[Precondition, AuditContext], Result],
    ) -> Result:
        """Run `command`. If it requires the password of the signed-in user, verify `password` and run it again.

        password: None, if the request has none.
        Raises: Forbidden (the password is wrong), RateLimited, Unavailable, and what `command` raises
        """
        if password is None:
            return command(precondition, audit_context)
        actor = audit_context.actor
        try:
            # A given password must be right even soon after the sign-in, so `command` is made to require it.
            return command(precondition, replace(audit_context, actor=replace(actor, authenticated_at=0.0)))
        except PasswordRequired:
            if actor.user_id is None:
                raise
        return command(*self.reauthenticate(actor.user_id, password, precondition, audit_context))

    def reauthenticate(
        self, user_id: uuid.UUID, password: str, precondition: Precondition, audit_context: AuditContext
    ) -> tuple[Precondition, AuditContext]:
        """Verify the password of the signed-in user, counted like a sign-in.

        Returns `precondition`, which now also requires the verified version, and `audit_context` with a recent
        authentication. Raises: Forbidden, RateLimited, Unavailable
        """
        failure_keys = self._rate_limits.count_sign_in(user_id.hex, audit_context.address)
        with self._database.connection() as connection:
            statement = select(users.c.version, users.c.password_hash).where(users.c.id == user_id, NOT_IN_TRASH)
            user = connection.execute(statement).one_or_none()
        if user is None or not passwords.verify(password, user.password_hash):
            if user is not None:
                audit_log.record_event(self._database, audit_context, user_id, "sign_in_failed")
            field_error = FieldError("current_password", N_("is incorrect"))
            raise Forbidden(N_("The current password is incorrect."), [field_error])
        self._rate_limits.reset_failures(failure_keys)
        now = replace(audit_context, actor=replace(audit_context.actor, authenticated_at=time.time()))
        return lambda version: version == user.version and precondition(version), now

    def is_locked(self, user_id: uuid.UUID) -> bool:
        """Whether failed attempts lock a user out now, from at least one address. Raises: Unavailable"""
        with self._database.connection() as connection:
            addresses = audit_log.addresses_of_failed_sign_ins(connection, user_id)
        return self._rate_limits.is_locked(user_id.hex, addresses)

    def unlock(self, user_id: uuid.UUID, audit_context: AuditContext) -> None:
        """Reset the failed attempts of a user, from every address. Raises: NotFound, Unavailable"""
        with self._database.connection() as connection:
            found = connection.scalar(select(users.c.id).where(users.c.id == user_id, NOT_IN_TRASH))
            addresses = audit_log.addresses_of_failed_sign_ins(connection, user_id)
        if found is None:
            raise NotFound(N_("There is no such user."))
        self._rate_limits.unlock(user_id.hex, addresses)
        audit_log.record_event(self._database, audit_context, user_id, "unlocked")

    def _count_attempt(self, user: _LoginUser | None, credentials: SignIn, audit_context: AuditContext) -> list[str]:
        """Count an attempt. Returns the counters to reset if it succeeds. Raises: RateLimited

        Attempts by username and by email of one user count together.
        """
        account = user.id.hex if user is not None else f"unknown {canonical(credentials.login)}"
        try:
            return self._rate_limits.count_sign_in(account, audit_context.address)
        except RateLimited as error:
            if error.is_new_lock and user is not None:
                audit_log.record_event(self._database, audit_context, user.id, "sign_in_locked")
            raise

    def _authenticate(self, user: _LoginUser | None, credentials: SignIn, audit_context: AuditContext) -> _LoginUser:
        """The user, if the password is right and the user is active. Raises: Unauthorized"""
        is_right = passwords.verify(credentials.password, user.password_hash if user else None)
        if user is not None and is_right and user.active:
            return user
        if user is not None:
            audit_log.record_event(self._database, audit_context, user.id, "sign_in_failed")
        raise Unauthorized(_WRONG)

    def _find(self, credentials: SignIn) -> _LoginUser | None:
        """The user with this email. A given username is looked up as username and as email. Raises: Unavailable"""
        key = canonical(credentials.login)
        if "\0" in key:
            # libpq would cut the key there, and the attempt would count for one name and look up another.
            return None
        statement = FIND_LOGIN_BY_EMAIL if credentials.username is None else FIND_LOGIN
        row = self._database.execute(statement, {"key": key}).fetchone()
        return None if row is None else _LoginUser(*row)

    def _rehash(self, user: _LoginUser, password: str) -> None:
        """Store the hash of the same password with current parameters. No effect if the password changed meanwhile."""
        password_hash = passwords.hash_password(passwords.normalize(password))
        # If the row is locked, the next sign-in rehashes.
        with suppress(Busy), self._database.transaction(user.id) as connection:
            unchanged = (users.c.id == user.id, users.c.password_hash == user.password_hash)
            connection.execute(update(users).where(*unchanged).values(password_hash=password_hash))
