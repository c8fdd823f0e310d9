"""Locks, inserts and updates the row of a single user, in the transaction of a command."""

import uuid
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from app.auth import audit_log
from app.auth.audit_log import AuditContext
from app.models import HistoryEntry, table_of, users
from app.users import history
from app.users.columns import NEXT_VERSION, with_derived_columns
from app.users.serialization import PUBLIC_COLUMNS, Document, serialize


def insert_row(
    connection: Connection, audit_context: AuditContext, user_id: uuid.UUID, values: dict[str, Any]
) -> Document:
    """Insert a user with these fields and write its history entry. Returns the user. Raises: ConstraintViolation"""
    version = _first_version(connection, user_id)
    # The epoch starts at the version, so no session of a purged user with this id becomes valid again.
    columns = {"id": user_id, "version": version, "session_epoch": version, **with_derived_columns(values)}
    created = serialize(connection.execute(insert(users).values(columns).returning(*PUBLIC_COLUMNS)).one())
    audit_log.record(connection, audit_context, user_id, version, "created", history.diff({}, values))
    return created


def _first_version(connection: Connection, user_id: uuid.UUID) -> int:
    """1, or the version after that of a purged user with this id, so no old ETag becomes valid again."""
    entries = table_of(HistoryEntry)
    last = connection.scalar(select(func.max(entries.c.version)).where(entries.c.user_id == user_id))
    return (last or 0) + 1


def update_row(connection: Connection, row: Row[Any], values: dict[str, Any]) -> Row[Any]:
    """Set `values` and the next version of a locked row. Returns the new row."""
    statement = update(users).where(users.c.id == row.id).values({**values, **NEXT_VERSION})
    return connection.execute(statement.returning(*PUBLIC_COLUMNS)).one()


def lock_row(connection: Connection, user_id: uuid.UUID) -> Row[Any] | None:
    """Lock the row of a user. None: there is none."""
    statement: Select[Any] = select(*PUBLIC_COLUMNS, users.c.password_hash).where(users.c.id == user_id)
    return connection.execute(statement.with_for_update()).one_or_none()
