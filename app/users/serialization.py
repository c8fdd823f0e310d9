"""Serializes users: JSON with the version of the user."""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Row, Text
from sqlalchemy import cast as sql_cast

from app.models import FIELD_NAMES, users
from app.types import format_timestamp

_TIMES = ("created_at", "updated_at", "deleted_at")

PUBLIC_COLUMNS: tuple[ColumnElement[Any], ...] = tuple(
    # As text, because the JSON of attributes is passed on unchanged.
    sql_cast(users.c[name], Text).label(name) if name == "attributes" else users.c[name]
    for name in ("id", *FIELD_NAMES, "version", *_TIMES)
)


@dataclass(frozen=True, slots=True)
class Document:
    """One user as JSON, and its version."""

    version: int
    body: bytes


def serialize(row: Row[Any]) -> Document:
    """The user in `row`, which was selected with PUBLIC_COLUMNS. deleted_at is left out if it is NULL."""
    fields: dict[str, Any] = {"id": str(row.id), **{name: getattr(row, name) for name in FIELD_NAMES}}
    fields |= {"attributes": orjson.Fragment(row.attributes), "version": row.version}
    fields |= {name: format_timestamp(value) for name in _TIMES if (value := getattr(row, name)) is not None}
    return Document(row.version, orjson.dumps(fields))
