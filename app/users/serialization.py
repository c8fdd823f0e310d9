"""How rows become what leaves the services: rendered JSON with its version."""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, Text
from sqlalchemy import cast as sql_cast

from app.models import users
from app.types import format_timestamp

PUBLIC = (
    users.c.id,
    users.c.username,
    users.c.email,
    users.c.name,
    users.c.role,
    users.c.active,
    # As text: it is passed on as it is.
    sql_cast(users.c.attributes, Text).label("attributes"),
    users.c.version,
    users.c.created_at,
    users.c.updated_at,
    users.c.deleted_at,
)


@dataclass(frozen=True, slots=True)
class Document:
    """One user as JSON, and its version."""

    version: int
    body: bytes


def document(row: Row[Any]) -> Document:
    """The user in `row`, which has the columns of PUBLIC."""
    return Document(row.version, orjson.dumps(_fields(row)))


def _fields(row: Row[Any]) -> dict[str, Any]:
    fields = {
        "id": str(row.id),
        "username": row.username,
        "email": row.email,
        "name": row.name,
        "role": row.role,
        "active": row.active,
        "attributes": orjson.Fragment(row.attributes),
        "version": row.version,
        "created_at": format_timestamp(row.created_at),
        "updated_at": format_timestamp(row.updated_at),
    }
    if row.deleted_at is not None:
        fields["deleted_at"] = format_timestamp(row.deleted_at)
    return fields
