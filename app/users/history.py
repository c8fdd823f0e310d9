"""The history of each user: what a change consists of, and pages of entries, newest first."""

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
from app.models import FIELD_NAMES, HistoryEntry, table_of, users
from app.search import cursors
from app.search.cursors import Keyset
from app.types import format_timestamp

_SCALAR_FIELDS = tuple(name for name in FIELD_NAMES if name != "attributes")
_history = table_of(HistoryEntry)
_CURSOR_KIND = "history"
_ID = struct.Struct("q")
_ACTOR_USER = re.compile(r"\buser:([0-9a-f-]{36})$")


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A JSON array of entries, and the cursor of the next page, if there is one."""

    body: bytes
    next_cursor: str | None


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changed fields with old and new value, attributes by key. The values of a password are left out.

    A field that is missing in both is unchanged; a field that is missing in one is null there.
    """
    changes = [
        {"field": name, "old": before.get(name), "new": after.get(name)}
        for name in _SCALAR_FIELDS
        if before.get(name) != after.get(name)
    ]
    old, new = before.get("attributes") or {}, after.get("attributes") or {}
    changes += [
        {"field": f"attributes.{key}", "old": old.get(key), "new": new.get(key)}
        for key in sorted(old.keys() | new.keys())
        if key not in old or key not in new or _canonical_json(old[key]) != _canonical_json(new[key])
    ]
    if before.get("password_hash") != after.get("password_hash"):
        changes.append({"field": "password", "old": None, "new": None})
    return changes


def _canonical_json(value: Any) -> bytes:
    """JSON with sorted keys. Python's == would treat 1 and true as equal."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def erase(connection: Connection, user_id: uuid.UUID) -> None:
    """Remove values, actors and origins from the entries of a user. Action, version and time stay."""
    blank: dict[str, Any] = {"changes": [], "address": None, "agent": None, "actor": None, "request_id": None}
    connection.execute(update(_history).where(_history.c.user_id == user_id).values(blank))


class History:
    """The history of users, read newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, user_id: uuid.UUID, limit: int, cursor: str | None) -> HistoryPage:
        """A page of the history of an active, deleted or purged user. Raises: NotFound, BadRequest, Unavailable"""
        entries = (
            select(_history, sql_cast(_history.c.changes, Text).label("changes_text"))
            .where(_history.c.user_id == user_id)
            .order_by(_history.c.id.desc())
            .limit(limit + 1)
        )
        if cursor is not None:
            entries = entries.where(_history.c.id < cursors.decode(_cursor_kind(user_id), cursor, _ID.pack).key)
        with self._database.connection() as connection:
            rows = connection.execute(entries).all()
            if not rows and cursor is None and not connection.scalar(select(exists().where(users.c.id == user_id))):
                raise NotFound(N_("There is no such user."))
        shown = rows[:limit]
        has_more = len(rows) > limit
        next_cursor = cursors.encode(_cursor_kind(user_id), Keyset(shown[-1].id, str(user_id))) if has_more else None
        return HistoryPage(orjson.dumps([_entry(row) for row in shown]), next_cursor)

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


def _cursor_kind(user_id: uuid.UUID) -> str:
    return f"{_CURSOR_KIND}:{user_id}"


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
