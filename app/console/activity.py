"""The activity of a user: a page of its history, and the names of those who acted."""

import uuid
from typing import Any

import orjson
from flask import request

from app.users import history

_ENTRIES = 20


def activity(user_id: uuid.UUID) -> dict[str, Any]:
    """What `_activity.html` shows. Raises: NotFound, Malformed (the cursor)"""
    found = history.page(user_id, _ENTRIES, request.args.get("before"))
    entries = orjson.loads(found.body)
    authors = history.authors(entry["actor"] for entry in entries)
    return {"entries": entries, "older": found.next_cursor, "authors": authors}
