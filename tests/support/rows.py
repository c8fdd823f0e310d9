"""Reads and writes rows of users and of the history, without the service."""

import uuid
from typing import Any

import orjson
import psycopg
from sqlalchemy import Text, cast, insert, select

from app.http.services import services
from app.models import FIELD_NAMES, table_of
from app.models import User as UserRow
from app.types import format_timestamp

USERS_TABLE = table_of(UserRow)


def insert_user(**fields: Any) -> uuid.UUID:
    """Insert a user without validation. Returns the id."""
    user_id = uuid.uuid4()
    row = {"username": "u", "name": "n", **fields, "id": user_id, "search_vector": ""}
    keys = {"username_key": user_id.hex, "name_key": row["name"], "email_key": row.get("email") and user_id.hex}
    with services().database.transaction() as connection:
        connection.execute(insert(USERS_TABLE).values({**row, **keys}))
    return user_id


def serialized_user(user_id: uuid.UUID) -> bytes:
    """The JSON of a user, written by orjson. deleted_at is left out if it is NULL."""
    attributes = cast(USERS_TABLE.c.attributes, Text).label("attributes_json")
    with services().database.connection() as connection:
        row = connection.execute(select(USERS_TABLE, attributes).where(USERS_TABLE.c.id == user_id)).one()
    fields: dict[str, Any] = {"id": str(row.id), **{name: getattr(row, name) for name in FIELD_NAMES}}
    fields |= {"attributes": orjson.Fragment(row.attributes_json), "version": row.version}
    times = {name: getattr(row, name) for name in ("created_at", "updated_at", "deleted_at")}
    fields |= {name: format_timestamp(time) for name, time in times.items() if time is not None}
    return orjson.dumps(fields)


def user_columns(database: psycopg.Connection[Any], user_id: uuid.UUID) -> dict[str, Any]:
    """All columns of a user except the id and the current timestamps. has_password stands for the password hash."""
    names = "username, username_key, email, email_key, name, name_key, role, active, attributes::text, version"
    rest = "search_vector::text, session_epoch, deleted_at, password_hash IS NOT NULL AS has_password"
    new = "created_at = updated_at AS is_new"
    cursor = database.execute(f"SELECT {names}, {rest}, {new} FROM users WHERE id = %s", [user_id])  # noqa: S608 - names of ours
    (row,) = cursor.fetchall()
    return dict(zip([column.name for column in cursor.description], row, strict=True))


def history_rows(database: psycopg.Connection[Any], user_id: uuid.UUID) -> list[tuple[Any, ...]]:
    """The history entries of a user, without ids and timestamps."""
    names = "version, action, actor, address, agent, request_id, changes::text"
    return database.execute(f"SELECT {names} FROM history WHERE user_id = %s ORDER BY id", [user_id]).fetchall()  # noqa: S608
