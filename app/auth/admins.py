"""Administrators: whether there is one, that there always stays one, and the first."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, text

from app.auth.permissions import Actor
from app.db.expressions import is_any_of
from app.errors import N_, Conflict
from app.extensions import Resources, reading, resources
from app.models import ADMINISTRATOR, users

_LOCK = 5002
IS_ONE = text(ADMINISTRATOR)
"""The condition that a row of users is an administrator who can sign in."""


class Door:
    """Whether the service is closed: it is as soon as there is an administrator who can sign in.

    Until then every request that needs somebody looks for one.
    """

    def __init__(self, held: Resources) -> None:
        self._held = held

    @property
    def was_closed(self) -> bool:
        """Whether the service is closed, as far as is known without asking PostgreSQL."""
        return self._held.state.is_secured or self._held.settings.is_public

    def is_closed(self) -> bool:
        """Whether requests need a credential. Raises: Unavailable, when nobody knows"""
        if self.was_closed:
            return True
        self.look()
        return self._held.state.is_secured

    def look(self) -> None:
        """Look for an administrator now, unless the service is closed. Raises: Unavailable"""
        # Only ever set: another may have closed it while this one looked.
        if not self._held.state.is_secured and self.has_administrator():
            self._held.state.is_secured = True

    @staticmethod
    def has_administrator() -> bool:
        """Whether there is an administrator who can sign in. Raises: Unavailable"""
        with reading() as connection:
            return _is_there_one(connection)


def count() -> int:
    """How many administrators can sign in. Raises: Unavailable"""
    with reading() as connection:
        return connection.scalar(select(func.count()).select_from(users).where(IS_ONE)) or 0


def door() -> Door:
    """The door of the current application."""
    return resources().part(Door)


def require_another(connection: Connection, rows: Iterable[Row[Any]], after: Mapping[str, Any] | None = None) -> None:
    """Refuse to take away the last administrator, who is among the locked `rows`: they will be as in `after`.

    None: gone. Raises: Conflict
    """
    lost = [row.id for row in rows if _ends(row._asdict(), after)]
    if not lost:
        return
    # Two administrators who remove each other: the second waits here.
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    others = exists().select_from(users).where(IS_ONE, ~is_any_of(users.c.id, lost))
    if not connection.scalar(select(others)):
        if len(lost) == 1:
            raise Conflict(N_("This is the last active administrator. Make another one first."))
        raise Conflict(N_("No active administrator would be left. Make another one first."))


def admit(connection: Connection, actor: Actor, befores: Iterable[Mapping[str, Any]], after: Mapping[str, Any]) -> None:
    """Let `actor` make users, who are as in `befores` ({}: new), be as in `after`.

    Who makes an administrator waits for all others who do, until this transaction ends. Raises: Conflict, when only
    the first may be made and there is one
    """
    if not any(is_one({**before, **after}) and not is_one(before) for before in befores):
        return
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if actor.only_first and _is_there_one(connection):
        raise Conflict(N_("There is an administrator already. Sign in, or ask them."))


def is_one(user: Mapping[str, Any]) -> bool:
    """Whether a user with these columns is an administrator who can sign in. A column that is not there is NULL."""
    is_able = user.get("active") and user.get("deleted_at") is None and user.get("password_hash") is not None
    return bool(user.get("role") == "admin" and is_able)


def _is_there_one(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists().select_from(users).where(IS_ONE))))


def _ends(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> bool:
    return is_one(before) and (after is None or not is_one({**before, **after}))
