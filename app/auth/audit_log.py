"""Writes the audit log: entries of the history, in the transaction of the change."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from app.auth.permissions import AuditContext
from app.auth.sql import WRITE_AUDIT_EVENT
from app.db.database import Database
from app.errors import N_, Unavailable
from app.models import HistoryEntry, table_of

_history = table_of(HistoryEntry)
_BATCH_SIZE = 1_000
"""Entries of one statement, about 30 ms. More could exceed the statement timeout."""
Entry = tuple[uuid.UUID, int, list[dict[str, Any]]]
"""Id of the user, its version after the change, and the changed fields."""


def record(
    connection: Connection,
    audit_context: AuditContext,
    user_id: uuid.UUID,
    version: int,
    action: str,
    changes: list[dict[str, Any]] | None = None,
) -> None:
    """Write the entry of a change of one user, in the transaction of `connection`."""
    record_all(connection, audit_context, action, [(user_id, version, changes or [])])


def record_event(database: Database, audit_context: AuditContext, user_id: uuid.UUID, action: str) -> bool:
    """Write the entry of an event that changes no user, in its own transaction.

    Returns False without effect for a purged user, of whom the history keeps no addresses. Raises: Unavailable, also
    while the user is being purged.
    """
    values = {"user_id": user_id, "action": action, **audit_context.columns}
    row = database.execute(WRITE_AUDIT_EVENT, values).fetchone()
    if row == (False,):
        raise Unavailable(N_("A concurrent request changed data that this request depends on. Try again shortly."))
    return row is not None


def await_events(connection: Connection, user_id: uuid.UUID) -> None:
    """Wait for events of a user that are being written. Until the transaction ends, no other is written."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(user_id), 0))))


def record_all(connection: Connection, audit_context: AuditContext, action: str, entries: Iterable[Entry]) -> None:
    """Write one entry for each of many users, in the transaction of `connection`."""
    event = {"action": action, **audit_context.columns}
    rows = [
        {"user_id": user_id, "version": version, "changes": changes, **event} for user_id, version, changes in entries
    ]
    for start in range(0, len(rows), _BATCH_SIZE):
        connection.execute(insert(_history), rows[start : start + _BATCH_SIZE])


def addresses_of_failed_sign_ins(connection: Connection, user_id: uuid.UUID) -> list[str]:
    """The addresses from which sign-ins of a user failed within the last day. "-" is an unknown address."""
    recent = _history.c.created_at > func.now() - text("interval '1 day'")
    failed = _history.c.action.in_(("sign_in_failed", "sign_in_locked"))
    statement = select(_history.c.address).distinct().where(_history.c.user_id == user_id, failed, recent)
    return [row.address or "-" for row in connection.execute(statement)]
