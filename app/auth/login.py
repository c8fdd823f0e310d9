"""Signing in: who knows the password, counted, noted, and at the same price whoever it is."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import select, update

from app.auth import audit_log, passwords, rate_limits, sessions
from app.auth.audit_log import AuditContext
from app.auth.permissions import Actor
from app.auth.sessions import Session
from app.auth.sql import WHO, WHO_BY_EMAIL
from app.errors import N_, Busy, Fault, Forbidden, NotFound, PasswordRequired, TooMany, Unauthorized
from app.extensions import asked, reading, writing
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


def sign_in(offered: SignIn, caller: AuditContext) -> tuple[str, Session]:
    """Begin a session for who knows the password. Returns its cookie, and the session.

    It takes the same time, and says the same, for an unknown user, a wrong password and
    an inactive user. Raises: Unauthorized, TooMany, Unavailable
    """
    began = time.monotonic()
    # Before anything is counted: nobody could be let in.
    sessions.require_store()
    found = _named(offered)
    try:
        guesses = _counted(found, offered, caller)
        user = _recognised(found, offered, caller)
    except (Unauthorized, TooMany) as error:
        if isinstance(error, Unauthorized) or error.is_new_lock:
            # What is noted of those who are there takes some ms more than nothing.
            time.sleep(max(0.0, began + _REFUSAL_S - time.monotonic()))
        raise
    if user.password_hash and passwords.is_outdated(user.password_hash):
        _rehash(user, offered.password)
    rate_limits.forgive_here(guesses)
    own = replace(caller, actor=Actor("session", user.id, user.role))
    begun = sessions.begin(user.id, user.role, user.session_epoch, caller, forgiven=guesses)
    audit_log.note(own, user.id, user.version, "signed_in")
    return begun


def with_password(
    offered: str | None,
    allowed: Precondition,
    caller: AuditContext,
    command: Callable[[Precondition, AuditContext], Result],
) -> Result:
    """What `command` gives. When it needs the password of who is signed in, `offered` is checked, then it is done.

    Raises: PasswordRequired (none was offered), Forbidden (it is wrong), TooMany, Unavailable, and what `command` does
    """
    who = caller.actor
    # A password that is given has to be right, however short ago the sign-in was.
    asked_again = caller if offered is None else replace(caller, actor=replace(who, authenticated_at=0.0))
    try:
        return command(allowed, asked_again)
    except PasswordRequired:
        if offered is None or who.user_id is None:
            raise
    return command(*authenticated(who.user_id, offered, allowed, caller))


def authenticated(
    user_id: uuid.UUID, offered: str, allowed: Precondition, caller: AuditContext
) -> tuple[Precondition, AuditContext]:
    """`allowed`, as long as nobody changes the user meanwhile, and `caller`, who has just given the right password.

    Raises: as require_password
    """
    checked = require_password(user_id, offered, caller)
    now = replace(caller, actor=replace(caller.actor, authenticated_at=time.time()))
    return lambda version: version == checked and allowed(version), now


def require_password(user_id: uuid.UUID, offered: str, caller: AuditContext) -> int:
    """Ask for the password of who is signed in, counted like a sign-in. Returns the version of the user who has it.

    Raises: Forbidden, TooMany, Unavailable
    """
    guesses = rate_limits.count_sign_in(user_id.hex, caller.address)
    with reading() as connection:
        columns = (users.c.id, users.c.version, users.c.password_hash)
        statement = select(*columns).where(users.c.id == user_id, _LIVE)
        user: Any = connection.execute(statement).one_or_none()
    if user is None or not passwords.verified(offered, user.password_hash):
        if user is not None:
            audit_log.note(caller, user.id, user.version, "sign_in_failed")
        raise Forbidden(N_("The current password is not right."), [Fault("current_password", N_("is not right"))])
    rate_limits.forgive(guesses)
    return int(user.version)


def is_locked(user_id: uuid.UUID) -> bool:
    """Whether wrong passwords keep a user from signing in now, at least from one address. Raises: Unavailable"""
    with reading() as connection:
        origins = audit_log.origins_of_failures(connection, user_id)
    return rate_limits.is_locked(user_id.hex, origins)


def unlock(user_id: uuid.UUID, caller: AuditContext) -> None:
    """Let a user sign in again at once, from wherever it failed. Raises: NotFound, Unavailable"""
    with writing() as connection:
        version = connection.scalar(select(users.c.version).where(users.c.id == user_id, _LIVE))
        if version is None:
            raise NotFound(N_("There is no such user."))
        rate_limits.unlock(user_id.hex, audit_log.origins_of_failures(connection, user_id))
        audit_log.record_event(connection, caller, user_id, version, "unlocked")


def _counted(user: _Known | None, offered: SignIn, caller: AuditContext) -> list[str]:
    """What is to be forgiven when this attempt succeeds. Raises: TooMany

    The attempts on an account count together, whether they name its username or its email.
    """
    account = user.id.hex if user is not None else f"unknown {canonical(offered.login)}"
    try:
        return rate_limits.count_sign_in(account, caller.address)
    except TooMany as error:
        if error.is_new_lock and user is not None:
            audit_log.note(caller, user.id, user.version, "sign_in_locked")
        raise


def _recognised(user: _Known | None, offered: SignIn, caller: AuditContext) -> _Known:
    """The user who may sign in so. Raises: Unauthorized"""
    is_right = passwords.verified(offered.password, user.password_hash if user else None)
    if user is not None and is_right and user.active:
        return user
    if user is not None:
        audit_log.note(caller, user.id, user.version, "sign_in_failed")
    raise Unauthorized(_WRONG)


def _named(offered: SignIn) -> _Known | None:
    """The user of this email or, where a username is given, of this username or email. Raises: Unavailable"""
    key = canonical(offered.login)
    if "\0" in key:
        # PostgreSQL would read no further, and so try on one name what is counted for another.
        return None
    found = asked(WHO_BY_EMAIL if offered.username is None else WHO, key)
    if not found.ntuples:
        return None
    user_id, role, active, version, epoch = (_text(found.get_value(0, column)) for column in range(5))
    kept = found.get_value(0, 5)
    known = (uuid.UUID(user_id), cast("Role", role), active == "t", int(version), int(epoch))
    return _Known(*known, _text(kept) if kept is not None else None)


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _rehash(user: _Known, password: str) -> None:
    """Keep the same password with today's parameters; a change at the same moment wins."""
    fresh = passwords.hashed(passwords.normal(password))
    # When somebody holds the user's row, the next sign-in does it.
    with suppress(Busy), writing(user.id) as connection:
        unchanged = (users.c.id == user.id, users.c.password_hash == user.password_hash)
        connection.execute(update(users).where(*unchanged).values(password_hash=fresh))
