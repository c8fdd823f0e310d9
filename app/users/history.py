"""The history of each user: written in the transaction of the change, read newest first."""

import re
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Text, exists, select, update
from sqlalchemy import cast as sql_cast

from app.db.database import Database
from app.errors import N_, NotFound
from app.models import HistoryEntry, table_of, users
from app.search import cursors
from app.search.cursors import Keyset
from app.types import format_timestamp

FIELDS = ("username", "email", "name", "role", "active")
_history = table_of(HistoryEntry)
_KIND = "history"
_ID = struct.Struct("q")
_AUTHOR = re.compile(r"\buser:([0-9a-f-]{36})$")


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A JSON array of entries, and the cursor of the next page, if there is one."""

    body: bytes
    next_cursor: str | None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What changed, field by field, attributes key by key. A password is only named."""
    changes = [
        {"field": field, "old": before.get(field), "new": after.get(field)}
        for field in FIELDS
        if before.get(field) != after.get(field)
    ]
    old, new = before.get("attributes") or {}, after.get("attributes") or {}
    changes += [
        {"field": f"attributes.{key}", "old": old.get(key), "new": new.get(key)}
        for key in sorted(old.keys() | new.keys())
        if key not in old or key not in new or _comparable(old[key]) != _comparable(new[key])
    ]
    if before.get("password_hash") != after.get("password_hash"):
        changes.append({"field": "password", "old": None, "new": None})
    return changes


def _comparable(value: Any) -> bytes:
    """The same for equal values alone. Python holds 1 and true for equal; in JSON the order of names says nothing."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def erase(connection: Connection, user_id: uuid.UUID) -> None:
    """Take all values and origins out of a user's entries; that something happened, and when, stays."""
    blank: dict[str, Any] = {"changes": [], "address": None, "agent": None, "actor": None, "request_id": None}
    connection.execute(update(_history).where(_history.c.user_id == user_id).values(blank))


class History:
    """The history of users, read newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, user_id: uuid.UUID, limit: int, cursor: str | None) -> HistoryPage:
        """One page of the history of a user, who may be in the trash or purged. Raises: NotFound, BadRequest"""
        entries = (
            select(_history, sql_cast(_history.c.changes, Text).label("changes_text"))
            .where(_history.c.user_id == user_id)
            .order_by(_history.c.id.desc())
            .limit(limit + 1)
        )
        if cursor is not None:
            entries = entries.where(_history.c.id < cursors.decode(_kind(user_id), cursor, _ID.pack).key)
        with self._database.connection() as connection:
            rows = connection.execute(entries).all()
            if not rows and cursor is None and not connection.scalar(select(exists().where(users.c.id == user_id))):
                raise NotFound(N_("There is no such user."))
        more = len(rows) > limit
        shown = rows[:limit]
        next_cursor = cursors.encode(_kind(user_id), Keyset(shown[-1].id, str(user_id))) if more else None
        return HistoryPage(orjson.dumps([_entry(row) for row in shown]), next_cursor)

    def latest(self, user_id: uuid.UUID, action: str) -> dict[str, Any] | None:
        """The newest entry of this action, `changes` left out; None: there is none."""
        columns = (_history.c.created_at, _history.c.action, _history.c.actor)
        found = select(*columns).where(_history.c.user_id == user_id, _history.c.action == action)
        with self._database.connection() as connection:
            row = connection.execute(found.order_by(_history.c.id.desc()).limit(1)).one_or_none()
        return (
            {"at": format_timestamp(row.created_at), "action": row.action, "actor": row.actor}
            if row is not None
            else None
        )

    def author_names(self, labels: Iterable[str | None]) -> dict[str, str]:
        """The names of the users whom labels of actors mention, by label; of who was purged there is none."""
        ids = {label: uuid.UUID(found[1]) for label in labels if label and (found := _AUTHOR.search(label))}
        if not ids:
            return {}
        with self._database.connection() as connection:
            rows = connection.execute(select(users.c.id, users.c.name).where(users.c.id.in_(set(ids.values()))))
            names = {row.id: row.name for row in rows}
        return {label: names[user_id] for label, user_id in ids.items() if user_id in names}


def _kind(user_id: uuid.UUID) -> str:
    return f"{_KIND}:{user_id}"


def _entry(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "version": row.version,
        "at": format_timestamp(row.created_at),
        "action": row.action,
        "actor": row.actor,
        "address": row.address,
        "agent": row.agent,
        "request_id": row.request_id,
        "changes": orjson.Fragment(row.changes_text),
    }
