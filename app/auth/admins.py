"""Administrators: whether there is one, that there always stays one, and the first."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, text

from app.auth.permissions import Actor
from app.config import Settings
from app.db.database import Database
from app.db.expressions import is_any_of
from app.errors import N_, Conflict
from app.models import ADMINISTRATOR, users
from app.ops.service_state import ServiceState

_LOCK = 5002
IS_ADMIN = text(ADMINISTRATOR)
"""The condition that a row of users is an administrator who can sign in."""


class Admins:
    """Whether the service is secured: it is, as soon as there is an administrator who can sign in.

    Until then each request that needs a credential looks for one. A service that other machines can reach starts
    secured.
    """

    def __init__(self, database: Database, state: ServiceState, settings: Settings) -> None:
        self._database, self._state, self._is_public = database, state, settings.is_public

    @property
    def is_known_secured(self) -> bool:
        """Whether the service is secured, as far as is known without asking PostgreSQL."""
        return self._state.is_secured or self._is_public

    def is_secured(self) -> bool:
        """Whether requests need a credential. Raises: Unavailable, when that is not known"""
        if self.is_known_secured:
            return True
        self.check()
        return self._state.is_secured

    def check(self) -> None:
        """Look for an administrator now, unless the service is secured. Raises: Unavailable"""
        # Only ever set: another process may have set it during this look.
        if not self._state.is_secured and self.has_admin():
            self._state.is_secured = True

    def has_admin(self) -> bool:
        """Whether there is an administrator who can sign in. Raises: Unavailable"""
        with self._database.connection() as connection:
            return _has_admin(connection)

    def count(self) -> int:
        """How many administrators can sign in. Raises: Unavailable"""
        with self._database.connection() as connection:
            return connection.scalar(select(func.count()).select_from(users).where(IS_ADMIN)) or 0


def require_another(connection: Connection, rows: Iterable[Row[Any]], after: Mapping[str, Any] | None = None) -> None:
    """Refuse to take away the last administrator, who is among the locked `rows`: they will be as in `after`.

    None: gone. Raises: Conflict
    """
    lost = [row.id for row in rows if _ends(row._asdict(), after)]
    if not lost:
        return
    # Two administrators who remove each other: the second waits here.
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    others = exists().select_from(users).where(IS_ADMIN, ~is_any_of(users.c.id, lost))
    if not connection.scalar(select(others)):
        if len(lost) == 1:
            raise Conflict(N_("This is the last active administrator. Make another one first."))
        raise Conflict(N_("No active administrator would be left. Make another one first."))


def admit(connection: Connection, actor: Actor, befores: Iterable[Mapping[str, Any]], after: Mapping[str, Any]) -> None:
    """Let `actor` make users, who are as in `befores` ({}: new), be as in `after`.

    Who makes an administrator waits for all others who do, until this transaction ends. Raises: Conflict, when only
    the first may be made and there is one
    """
    if not any(is_admin({**before, **after}) and not is_admin(before) for before in befores):
        return
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if actor.only_first and _has_admin(connection):
        raise Conflict(N_("There is an administrator already. Sign in, or ask them."))


def is_admin(user: Mapping[str, Any]) -> bool:
    """Whether a user with these columns is an administrator who can sign in. A column that is not there is NULL."""
    is_able = user.get("active") and user.get("deleted_at") is None and user.get("password_hash") is not None
    return bool(user.get("role") == "admin" and is_able)


def _has_admin(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists().select_from(users).where(IS_ADMIN))))


def _ends(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> bool:
    return is_admin(before) and (after is None or not is_admin({**before, **after}))
