"""The audit log: entries of the history, written in the transaction of the change."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from app.auth.permissions import OPEN, Actor
from app.auth.sql import NOTED
from app.db.database import Database
from app.models import NO_XID, HistoryEntry, table_of

_history = table_of(HistoryEntry)
_AT_ONCE = 1_000  # entries, about 30 ms: the whole of one call has to end in time
Entry = tuple[uuid.UUID, int, list[dict[str, Any]]]
"""A user, its version after the change, and what changed."""


@dataclass(frozen=True, slots=True)
class AuditContext:
    """Who makes a change, and from where."""

    actor: Actor = OPEN
    address: str | None = None
    agent: str | None = None
    request_id: str | None = None


def record(
    connection: Connection,
    audit_context: AuditContext,
    user_id: uuid.UUID,
    version: int,
    action: str,
    changes: list[dict[str, Any]] | None = None,
) -> None:
    """Write one entry in the transaction of the change."""
    connection.execute(insert(_history), _values(audit_context, action, (user_id, version, changes or [])))


def record_event(
    connection: Connection, audit_context: AuditContext, user_id: uuid.UUID, version: int, action: str
) -> None:
    """Write one entry of something that changes nothing, in the transaction of `connection`."""
    connection.execute(insert(_history), {**_values(audit_context, action, (user_id, version, [])), "xid": NO_XID})


def record_event_now(
    database: Database, audit_context: AuditContext, user_id: uuid.UUID, version: int, action: str
) -> None:
    """Write one entry of something that changes nothing, in one round trip and a transaction of its own.

    Raises: Unavailable
    """
    database.execute_prepared(NOTED, user_id, version, action, *origin(audit_context).values())


def record_all(connection: Connection, audit_context: AuditContext, action: str, entries: Iterable[Entry]) -> None:
    """Write one entry for each of many users, in the transaction of the change."""
    rows = [_values(audit_context, action, entry) for entry in entries]
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute(insert(_history), rows[start : start + _AT_ONCE])


def origins_of_failures(connection: Connection, user_id: uuid.UUID) -> list[str]:
    """The addresses from which signing in as this user failed within the last day."""
    recent = _history.c.at > func.now() - text("interval '1 day'")
    failed = _history.c.action.in_(("sign_in_failed", "sign_in_locked"))
    statement = select(_history.c.address).distinct().where(_history.c.user_id == user_id, failed, recent)
    return [row.address or "-" for row in connection.execute(statement)]


def origin(audit_context: AuditContext) -> dict[str, str | None]:
    """Who makes a change, and from where, as an entry says it."""
    return {
        "actor": audit_context.actor.label,
        "address": audit_context.address,
        "agent": audit_context.agent,
        "request_id": audit_context.request_id,
    }


def _values(audit_context: AuditContext, action: str, entry: Entry) -> dict[str, Any]:
    user_id, version, changes = entry
    return {
        "user_id": user_id,
        "version": version,
        "action": action,
        **origin(audit_context),
        "changes": changes,
    }
