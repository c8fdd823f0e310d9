"""The page of a user in the trash. The user can be restored or purged, but not edited."""

import uuid
from http import HTTPStatus

import orjson
from flask import Response

from app.console.activity import activity
from app.console.rendering import render
from app.http.access import actor
from app.http.services import services


def render_trashed_user(user_id: uuid.UUID, error: str | None = None) -> Response:
    """The page. `error`: why the last request changed nothing; the status is then 409. Raises: NotFound"""
    user = orjson.loads(services().user_reads.get_deleted(user_id).body)
    deletion = services().history.latest(user_id, "deleted")
    current_actor, values = actor(), activity(user_id)
    values["authors"] |= services().history.names_of_actors([deletion["actor"]] if deletion else [])
    return render(
        "trashed_user.html",
        HTTPStatus.CONFLICT if error else HTTPStatus.OK,
        user=user,
        user_id=user_id,
        attributes=orjson.dumps(user["attributes"], option=orjson.OPT_INDENT_2).decode(),
        deletion=deletion,
        errors={"form": error} if error else {},
        may_restore=current_actor.may("editor") and current_actor.may_change(user_id, user["role"]),
        **values,
    )
