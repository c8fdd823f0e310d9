"""Signing in: who knows the password, counted, noted, and at the same price whoever it is."""

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import select, update

from app.errors import Fault, Forbidden, NotFound, PasswordRequired, TooMany, Unauthorized
from app.extensions import asked, reading, writing
from app.schemas import SignIn
from app.services import history, limiting, passwords, sessions, words
from app.services.authority import Actor
from app.services.documents import Precondition, users
from app.services.history import Caller
from app.services.sessions import Session
from app.services.statements import WHO_BY_EMAIL, WHO_BY_USERNAME
from app.values import Role

Result = TypeVar("Result")

_LIVE = users.c.deleted_at.is_(None)
_REFUSAL_S = 0.15
_WRONG = "The username or email, or the password, is not right."


class _Known(NamedTuple):
    """What is known of who signs in."""

    id: uuid.UUID
    role: Role
    active: bool
    version: int
    session_epoch: int
    password_hash: str | None


def sign_in(offered: SignIn, caller: Caller) -> tuple[str, Session]:
    """Begin a session for who knows the password. Returns its cookie, and the session.

    It takes the same time, and says the same, for an unknown user, a wrong password and
    an inactive user. Raises: Unauthorized, TooMany, Unavailable
    """
    began = time.monotonic()
    account = words.identity_key(offered.login)
    # Before anything is counted: nobody could be let in.
    sessions.require_store()
    try:
        guesses = _counted(account, offered, caller)
        user = _recognised(account, offered, caller)
    except (Unauthorized, TooMany) as error:
        if isinstance(error, Unauthorized) or error.is_new_lock:
            # What is noted of those who are there takes some ms more than nothing.
            time.sleep(max(0.0, began + _REFUSAL_S - time.monotonic()))
        raise
    if user.password_hash and passwords.is_outdated(user.password_hash):
        _rehash(user, offered.password)
    limiting.forgive_here(guesses)
    own = replace(caller, actor=Actor("session", user.id, user.role))
    return sessions.begin(
        user.id,
        user.role,
        user.session_epoch,
        caller,
        forgiven=guesses,
        meanwhile=lambda: history.note(own, user.id, user.version, "signed_in"),
    )


def with_password(
    offered: str | None, allowed: Precondition, caller: Caller, command: Callable[[Precondition, Caller], Result]
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
    user_id: uuid.UUID, offered: str, allowed: Precondition, caller: Caller
) -> tuple[Precondition, Caller]:
    """`allowed`, as long as nobody changes the user meanwhile, and `caller`, who has just given the right password.

    Raises: as require_password
    """
    checked = require_password(user_id, offered, caller)
    now = replace(caller, actor=replace(caller.actor, authenticated_at=time.time()))
    return lambda version: version == checked and allowed(version), now


def require_password(user_id: uuid.UUID, offered: str, caller: Caller) -> int:
    """Ask for the password of who is signed in, counted like a sign-in. Returns the version of the user who has it.

    Raises: Forbidden, TooMany, Unavailable
    """
    guesses = limiting.count_sign_in(user_id.hex, caller.address)
    with reading() as connection:
        columns = (users.c.id, users.c.version, users.c.password_hash)
        statement = select(*columns).where(users.c.id == user_id, _LIVE)
        user: Any = connection.execute(statement).one_or_none()
    if user is None or not passwords.verified(offered, user.password_hash):
        if user is not None:
            history.note(caller, user.id, user.version, "sign_in_failed")
        raise Forbidden("The current password is not right.", [Fault("current_password", "is not right")])
    limiting.forgive(guesses)
    return int(user.version)


def unlock(user_id: uuid.UUID, caller: Caller) -> None:
    """Let a user sign in again at once, from wherever it failed. Raises: NotFound, Unavailable"""
    with writing() as connection:
        found = select(users.c.username_key, users.c.email_key, users.c.version)
        user = connection.execute(found.where(users.c.id == user_id, _LIVE)).one_or_none()
        if user is None:
            raise NotFound("There is no such user.")
        # By its id it is counted when it gives its password while signed in.
        accounts = filter(None, (user.username_key, user.email_key, user_id.hex))
        limiting.unlock(accounts, history.origins_of_failures(connection, user_id))
        history.record(connection, caller, user_id, user.version, "unlocked")


def _counted(account: str, offered: SignIn, caller: Caller) -> list[str]:
    """What is to be forgiven when this attempt succeeds. Raises: TooMany"""
    try:
        return limiting.count_sign_in(account, caller.address)
    except TooMany as error:
        if error.is_new_lock and (user := _named(account, by_email_only=offered.username is None)):
            history.note(caller, user.id, user.version, "sign_in_locked")
        raise


def _recognised(account: str, offered: SignIn, caller: Caller) -> _Known:
    """The user who may sign in so. Raises: Unauthorized"""
    user = _named(account, by_email_only=offered.username is None)
    is_right = passwords.verified(offered.password, user.password_hash if user else None)
    if user is not None and is_right and user.active:
        return user
    if user is not None:
        history.note(caller, user.id, user.version, "sign_in_failed")
    raise Unauthorized(_WRONG)


def _named(account: str, *, by_email_only: bool) -> _Known | None:
    """The user of this username or, failing that, of this email."""
    if "\0" in account:
        # PostgreSQL would read no further, and so try on one name what is counted for another.
        return None
    for statement in (WHO_BY_EMAIL,) if by_email_only else (WHO_BY_USERNAME, WHO_BY_EMAIL):
        found = asked(statement, account)
        if found.ntuples:
            user_id, role, active, version, epoch = (_text(found.get_value(0, column)) for column in range(5))
            kept = found.get_value(0, 5)
            known = (uuid.UUID(user_id), cast("Role", role), active == "t", int(version), int(epoch))
            return _Known(*known, _text(kept) if kept is not None else None)
    return None


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _rehash(user: _Known, password: str) -> None:
    """Keep the same password with today's parameters; a change at the same moment wins."""
    fresh = passwords.hashed(passwords.normal(password))
    with writing() as connection:
        unchanged = (users.c.id == user.id, users.c.password_hash == user.password_hash)
        connection.execute(update(users).where(*unchanged).values(password_hash=fresh))
