"""The activity of a user: one page of the history, and the names of the actors."""

import uuid
from typing import Any

import orjson
from flask import request

from app.http.services import services

_PAGE_SIZE = 20


def activity(user_id: uuid.UUID) -> dict[str, Any]:
    """The values of `_activity.html`. Raises: NotFound, BadRequest (invalid cursor)"""
    page = services().history.page(user_id, _PAGE_SIZE, request.args.get("before"))
    entries = orjson.loads(page.body)
    authors = services().history.names_of_actors(entry["actor"] for entry in entries)
    return {"entries": entries, "older": page.next_cursor, "authors": authors}
