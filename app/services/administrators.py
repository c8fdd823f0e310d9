"""Administrators: whether there is one, that there always stays one, and the first."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, text

from app.errors import Conflict
from app.extensions import Resources, reading, resources
from app.models import ADMINISTRATOR
from app.services.columns import among
from app.services.documents import users

_LOCK = 5002
_LOOK_AGAIN_S = 1.0
IS_ONE = text(ADMINISTRATOR)
"""The condition that a row of users is an administrator who can sign in."""


class Door:
    """Whether the service is closed: it is as soon as there is an administrator who can sign in.

    Processes of one host learn of it at once (infra.shared), others within a second.
    """

    def __init__(self, held: Resources) -> None:
        self._held = held
        self._looked_at = float("-inf")

    @property
    def was_closed(self) -> bool:
        """Whether the service is closed, as far as is known without asking PostgreSQL."""
        return self._held.state.closed or self._held.settings.is_public

    def is_closed(self) -> bool:
        """Whether requests need a credential. Raises: Unavailable, when nobody knows"""
        if self.was_closed:
            return True
        if time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
            self.look()
        return self._held.state.closed

    def look(self) -> None:
        """Look for an administrator now, unless the service is closed. Raises: Unavailable"""
        if not self._held.state.closed:
            # Only ever set: another may have closed it while this one looked.
            if self.has_administrator():
                self._held.state.closed = True
            self._looked_at = time.monotonic()

    @staticmethod
    def has_administrator() -> bool:
        """Whether there is an administrator who can sign in. Raises: Unavailable"""
        with reading() as connection:
            return bool(connection.scalar(select(exists().select_from(users).where(IS_ONE))))


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
    others = exists().select_from(users).where(IS_ONE, ~among(users.c.id, lost))
    if not connection.scalar(select(others)):
        these = "This is the last active administrator" if len(lost) == 1 else "No active administrator would be left"
        raise Conflict(f"{these}. Make another one first.")


def _ends(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> bool:
    return _is_administrator(before) and (after is None or not _is_administrator({**before, **after}))


def _is_administrator(user: Mapping[str, Any]) -> bool:
    return bool(
        user["role"] == "admin" and user["active"] and user["deleted_at"] is None and user["password_hash"] is not None
    )
