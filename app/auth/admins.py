"""Administrators: whether one exists, that the last one stays, and that only one becomes the first."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, text

from app.auth.permissions import Actor
from app.db.database import Database
from app.db.expressions import is_any_of
from app.errors import N_, Conflict
from app.models import ADMINISTRATOR, users
from app.ops.service_state import ServiceState

_LOCK = 5002
"""The advisory lock of transactions that add or remove administrators."""
IS_ADMIN = text(ADMINISTRATOR)
"""The SQL condition that a row of users is an administrator who can sign in."""


class Admins:
    """Whether the service is secured. It is secured as soon as an administrator exists who can sign in."""

    def __init__(self, database: Database, state: ServiceState) -> None:
        self._database, self._state = database, state

    def is_secured(self) -> bool:
        """Whether requests need a credential. In setup mode this looks for an administrator. Raises: Unavailable"""
        # The flag is only ever set, never cleared: another process may set it during this query.
        if not self._state.is_secured and self.has_admin():
            self._state.is_secured = True
        return self._state.is_secured

    def has_admin(self) -> bool:
        """Whether an administrator exists who can sign in. Raises: Unavailable"""
        with self._database.connection() as connection:
            return _has_admin(connection)

    def count(self) -> int:
        """The number of administrators who can sign in. Raises: Unavailable"""
        with self._database.connection() as connection:
            return connection.scalar(select(func.count()).select_from(users).where(IS_ADMIN)) or 0


def require_remaining_admin(
    connection: Connection, rows: Iterable[Row[Any]], after: Mapping[str, Any] | None = None
) -> None:
    """Reject a change that leaves no administrator. `rows` are the locked users that change.

    after: the new values of their columns; None if they are deleted. Raises: Conflict
    """
    removed_ids = [row.id for row in rows if _loses_admin(row._asdict(), after)]
    if not removed_ids:
        return
    # Two administrators may remove each other at the same time: the second transaction waits here.
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    others = exists().select_from(users).where(IS_ADMIN, ~is_any_of(users.c.id, removed_ids))
    if not connection.scalar(select(others)):
        if len(removed_ids) == 1:
            raise Conflict(N_("This user is the last active administrator. Create another administrator first."))
        raise Conflict(N_("No active administrator would remain. Create another administrator first."))


def check_promotion(
    connection: Connection, actor: Actor, befores: Iterable[Mapping[str, Any]], after: Mapping[str, Any]
) -> None:
    """Reject a second "first" administrator. `befores` are the columns of the changed users, {} for a new user.

    Transactions that create administrators run one after the other. Raises: Conflict, if the actor may only create
    the first administrator and one exists
    """
    if not any(is_admin({**before, **after}) and not is_admin(before) for before in befores):
        return
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if actor.first_admin_only and _has_admin(connection):
        raise Conflict(N_("An administrator already exists. Sign in, or ask an administrator."))


def is_admin(user: Mapping[str, Any]) -> bool:
    """Whether a user with these columns is an administrator who can sign in. A missing column is NULL."""
    can_sign_in = user.get("active") and user.get("deleted_at") is None and user.get("password_hash") is not None
    return bool(user.get("role") == "admin" and can_sign_in)


def _has_admin(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists().select_from(users).where(IS_ADMIN))))


def _loses_admin(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> bool:
    return is_admin(before) and (after is None or not is_admin({**before, **after}))
