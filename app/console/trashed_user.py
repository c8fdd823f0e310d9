"""The page of a user in the trash: to be read, restored or purged, not changed."""

import uuid
from http import HTTPStatus

import orjson
from flask import Response

from app.console.activity import activity
from app.console.rendering import page
from app.http.auth import actor
from app.users import commands, history


def trashed_user_page(user_id: uuid.UUID, problem: str | None = None) -> Response:
    """A user in the trash, who deleted it, and when. `problem`: why nothing was done (409). Raises: NotFound"""
    user = orjson.loads(commands.fetch_deleted(user_id).body)
    deletion = history.latest(user_id, "deleted")
    who, shown = actor(), activity(user_id)
    shown["authors"] |= history.authors([deletion["actor"]] if deletion else [])
    return page(
        "trashed_user.html",
        HTTPStatus.CONFLICT if problem else HTTPStatus.OK,
        person=user,
        user_id=user_id,
        attributes=orjson.dumps(user["attributes"], option=orjson.OPT_INDENT_2).decode(),
        deletion=deletion,
        faults={"form": problem} if problem else {},
        may_restore=who.may("editor") and who.may_change(user_id, user["role"]),
        **shown,
    )
