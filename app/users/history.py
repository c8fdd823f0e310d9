"""The history of each user: pages of entries, newest first, and its erasure."""

import re
import struct
import uuid
from collections.abc import Iterable
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Text, exists, select, update
from sqlalchemy import cast as sql_cast

from app.auth import audit_log
from app.db.database import Database
from app.errors import N_, NotFound
from app.models import HistoryEntry, table_of, users
from app.search import cursors
from app.search.cursors import Keyset
from app.search.pages import Page
from app.types import format_timestamp

_history = table_of(HistoryEntry)
_ENTRY: tuple[ColumnElement[Any], ...] = (
    *(_history.c[name] for name in ("id", "version")),
    _history.c.created_at.label("at"),
    *(_history.c[name] for name in ("action", "actor", "address", "agent", "request_id")),
    # As text, because its JSON is passed on unchanged.
    sql_cast(_history.c.changes, Text).label("changes"),
)
"""The columns of an entry, by the names of its JSON."""
_ID = struct.Struct("q")
_ACTOR_USER = re.compile(r"\buser:([0-9a-f-]{36})$")


def erase(connection: Connection, user_id: uuid.UUID) -> None:
    """Remove values, actors and origins from the entries of a user. Action, version and time stay."""
    audit_log.await_events(connection, user_id)
    blank: dict[str, Any] = {"changes": [], "address": None, "agent": None, "actor": None, "request_id": None}
    connection.execute(update(_history).where(_history.c.user_id == user_id).values(blank))


class History:
    """The history of users, read newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, user_id: uuid.UUID, limit: int, cursor: str | None) -> Page:
        """A page of the history of an active, deleted or purged user. Raises: NotFound, BadRequest, Unavailable"""
        kind = f"history:{user_id}"
        entries = select(*_ENTRY).where(_history.c.user_id == user_id).order_by(_history.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            entries = entries.where(_history.c.id < cursors.decode(kind, cursor, _ID.pack).key)
        with self._database.connection() as connection:
            rows = connection.execute(entries).all()
            if not rows and cursor is None and not connection.scalar(select(exists().where(users.c.id == user_id))):
                raise NotFound(N_("There is no such user."))
        shown = rows[:limit]
        next_cursor = cursors.encode(kind, Keyset(shown[-1].id, str(user_id))) if len(rows) > limit else None
        return Page(orjson.dumps([_entry(row) for row in shown]), next_cursor)

    def latest_actor(self, user_id: uuid.UUID, action: str) -> str | None:
        """The actor of the newest entry of this action. None: there is no such entry, or it has no actor."""
        found = select(_history.c.actor).where(_history.c.user_id == user_id, _history.c.action == action)
        with self._database.connection() as connection:
            return connection.scalar(found.order_by(_history.c.id.desc()).limit(1))

    def names_of_actors(self, labels: Iterable[str | None]) -> dict[str, str]:
        """The names of the users in these actors, by actor. Purged users and commands have none."""
        ids = {label: uuid.UUID(found[1]) for label in labels if label and (found := _ACTOR_USER.search(label))}
        if not ids:
            return {}
        with self._database.connection() as connection:
            rows = connection.execute(select(users.c.id, users.c.name).where(users.c.id.in_(set(ids.values()))))
            names = {row.id: row.name for row in rows}
        return {label: names[user_id] for label, user_id in ids.items() if user_id in names}


def _entry(row: Row[Any]) -> dict[str, Any]:
    return {**row._asdict(), "at": format_timestamp(row.at), "changes": orjson.Fragment(row.changes)}
