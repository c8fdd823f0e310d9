"""The history of each user: written in the transaction of the change, read newest first."""

import re
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Text, exists, func, insert, select, text, update
from sqlalchemy import cast as sql_cast

from app.errors import N_, NotFound
from app.extensions import asked, reading
from app.models import NO_XID, HistoryEntry, table_of
from app.services import cursors
from app.services.authority import OPEN, Actor
from app.services.cursors import Position
from app.services.documents import moment, users
from app.services.statements import NOTED

FIELDS = ("username", "email", "name", "role", "active")
_history = table_of(HistoryEntry)
_KIND = "history"
_ID = struct.Struct("q")
_AUTHOR = re.compile(r"\buser:([0-9a-f-]{36})$")
_AT_ONCE = 1_000  # entries, about 30 ms: the whole of one call has to end in time
Entry = tuple[uuid.UUID, int, list[dict[str, Any]]]
"""A user, its version after the change, and what changed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a change, and from where."""

    actor: Actor = OPEN
    address: str | None = None
    agent: str | None = None
    request_id: str | None = None


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


def record(
    connection: Connection,
    caller: Caller,
    user_id: uuid.UUID,
    version: int,
    action: str,
    changes: list[dict[str, Any]] | None = None,
) -> None:
    """Write one entry in the transaction of the change."""
    connection.execute(insert(_history), _values(caller, action, (user_id, version, changes or [])))


def record_event(connection: Connection, caller: Caller, user_id: uuid.UUID, version: int, action: str) -> None:
    """Write one entry of something that changes nothing, in the transaction of `connection`."""
    connection.execute(insert(_history), {**_values(caller, action, (user_id, version, [])), "xid": NO_XID})


def note(caller: Caller, user_id: uuid.UUID, version: int, action: str) -> None:
    """Write one entry of something that changes nothing, in one round trip and a transaction of its own.

    Raises: Unavailable
    """
    asked(NOTED, user_id, version, action, *origin(caller).values())


def record_all(connection: Connection, caller: Caller, action: str, entries: Iterable[Entry]) -> None:
    """Write one entry for each of many users, in the transaction of the change."""
    rows = [_values(caller, action, entry) for entry in entries]
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute(insert(_history), rows[start : start + _AT_ONCE])


def origins_of_failures(connection: Connection, user_id: uuid.UUID) -> list[str]:
    """The addresses from which signing in as this user failed within the last day."""
    recent = _history.c.at > func.now() - text("interval '1 day'")
    failed = _history.c.action.in_(("sign_in_failed", "sign_in_locked"))
    statement = select(_history.c.address).distinct().where(_history.c.user_id == user_id, failed, recent)
    return [row.address or "-" for row in connection.execute(statement)]


def erase(connection: Connection, user_id: uuid.UUID) -> None:
    """Take all values and origins out of a user's entries; that something happened, and when, stays."""
    blank: dict[str, Any] = {"changes": [], "address": None, "agent": None, "actor": None, "request_id": None}
    connection.execute(update(_history).where(_history.c.user_id == user_id).values(blank))


def page(user_id: uuid.UUID, limit: int, cursor: str | None) -> HistoryPage:
    """One page of the history of a user, who may be in the trash or purged. Raises: NotFound, Malformed"""
    entries = (
        select(_history, sql_cast(_history.c.changes, Text).label("changes_text"))
        .where(_history.c.user_id == user_id)
        .order_by(_history.c.id.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        entries = entries.where(_history.c.id < cursors.decode(_kind(user_id), cursor, _ID.pack).key)
    with reading() as connection:
        rows = connection.execute(entries).all()
        if not rows and cursor is None and not connection.scalar(select(exists().where(users.c.id == user_id))):
            raise NotFound(N_("There is no such user."))
    more = len(rows) > limit
    shown = rows[:limit]
    next_cursor = cursors.encode(_kind(user_id), Position(shown[-1].id, str(user_id))) if more else None
    return HistoryPage(orjson.dumps([_entry(row) for row in shown]), next_cursor)


def latest(user_id: uuid.UUID, action: str) -> dict[str, Any] | None:
    """The newest entry of this action, `changes` left out; None: there is none."""
    columns = (_history.c.at, _history.c.action, _history.c.actor)
    found = select(*columns).where(_history.c.user_id == user_id, _history.c.action == action)
    with reading() as connection:
        row = connection.execute(found.order_by(_history.c.id.desc()).limit(1)).one_or_none()
    return {"at": moment(row.at), "action": row.action, "actor": row.actor} if row is not None else None


def authors(labels: Iterable[str | None]) -> dict[str, str]:
    """The names of the users whom labels of actors mention, by label; of who was purged there is none."""
    ids = {label: uuid.UUID(found[1]) for label in labels if label and (found := _AUTHOR.search(label))}
    if not ids:
        return {}
    with reading() as connection:
        rows = connection.execute(select(users.c.id, users.c.name).where(users.c.id.in_(set(ids.values()))))
        names = {row.id: row.name for row in rows}
    return {label: names[user_id] for label, user_id in ids.items() if user_id in names}


def origin(caller: Caller) -> dict[str, str | None]:
    """Who makes a change, and from where, as an entry says it."""
    return {
        "actor": caller.actor.label,
        "address": caller.address,
        "agent": caller.agent,
        "request_id": caller.request_id,
    }


def _values(caller: Caller, action: str, entry: Entry) -> dict[str, Any]:
    user_id, version, changes = entry
    return {
        "user_id": user_id,
        "version": version,
        "action": action,
        **origin(caller),
        "changes": changes,
    }


def _kind(user_id: uuid.UUID) -> str:
    return f"{_KIND}:{user_id}"


def _entry(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "version": row.version,
        "at": moment(row.at),
        "action": row.action,
        "actor": row.actor,
        "address": row.address,
        "agent": row.agent,
        "request_id": row.request_id,
        "changes": orjson.Fragment(row.changes_text),
    }
