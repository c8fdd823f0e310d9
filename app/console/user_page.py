"""Renders the page of a user, also of one in the trash, and the form for a new user."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, request

from app.console.rendering import render
from app.console.user_form import Form
from app.errors import N_, NotFound, Unavailable
from app.http.access import actor, session
from app.http.services import services
from app.types import format_timestamp

_ENTRIES = 20
"""Entries of a page of the activity."""


def render_new_user(form: Form, errors: Mapping[str, str], *, is_draft: bool = False) -> Response:
    """The form for a new user."""
    return render("user_form.html", user=None, form=form, errors=errors, conflicts={}, is_draft=is_draft)


def render_user(
    user_id: uuid.UUID,
    user: dict[str, Any],
    form: Form,
    errors: Mapping[str, str],
    status: int = HTTPStatus.OK,
    conflicts: dict[str, tuple[str, str]] | None = None,
    *,
    is_draft: bool = False,
) -> Response:
    """The page of a user. `conflicts`: field to my value and their value; None: there was no concurrent change."""
    current_actor = actor()
    is_own = current_actor.owns(user_id)
    return render(
        "user.html",
        status,
        user=user,
        user_id=user_id,
        form=form,
        errors=errors,
        conflicts=conflicts or {},
        is_conflict=conflicts is not None,
        is_draft=is_draft,
        is_own=is_own,
        needs_password=is_own and current_actor.kind == "session" and current_actor.must_give_password(),
        self_editable=sorted(services().settings.self_editable_attributes),
        may_change=current_actor.may_change(user_id, user["role"]),
        is_locked=current_actor.may("admin") and services().login.is_locked(user_id),
        tokens=services().tokens.get_list(user_id) if current_actor.may("admin") else [],
        done=request.args.get("done"),
        **_sessions(user_id),
        **(activity(user_id) if current_actor.may("viewer") else {"entries": [], "pruned_before": None}),
    )


def render_trashed_user(user_id: uuid.UUID, error: str | None = None) -> Response:
    """The page of a user in the trash, who can be restored or purged, but not edited.

    error: why the last request changed nothing; the status is then 409. Raises: NotFound, also for members
    """
    if not actor().may("viewer"):
        raise NotFound(N_("There is no such user."))
    user = orjson.loads(services().user_reads.get_deleted(user_id).body)
    deleted_by = services().history.latest_actor(user_id, "deleted")
    current_actor, values, trash_days = actor(), activity(user_id), services().settings.trash_days
    purge_at = datetime.fromisoformat(user["deleted_at"]) + timedelta(days=trash_days) if trash_days else None
    values["authors"] |= services().history.names_of_actors([deleted_by])
    return render(
        "trashed_user.html",
        HTTPStatus.CONFLICT if error else HTTPStatus.OK,
        user=user,
        user_id=user_id,
        attributes=orjson.dumps(user["attributes"], option=orjson.OPT_INDENT_2).decode(),
        deleted_by=deleted_by,
        purge_at=purge_at and format_timestamp(purge_at),
        errors={"form": error} if error else {},
        may_restore=current_actor.may("editor") and current_actor.may_change(user_id, user["role"]),
        **values,
    )


def activity(user_id: uuid.UUID) -> dict[str, Any]:
    """The values of `_activity.html`. Raises: NotFound, BadRequest (invalid cursor)

    pruned_before: if older entries were deleted because of their age, a time after which none was deleted.
    """
    page = services().history.page(user_id, _ENTRIES, request.args.get("before"))
    entries = orjson.loads(page.body)
    authors = services().history.names_of_actors(entry["actor"] for entry in entries)
    is_complete = page.next_cursor or (entries and entries[-1]["action"] == "created")
    record = None if is_complete else services().retention.records().get("history")
    pruned_before = record and format_timestamp(record.deleted_before)
    return {"entries": entries, "older": page.next_cursor, "authors": authors, "pruned_before": pruned_before}


def _sessions(user_id: uuid.UUID) -> dict[str, Any]:
    """The sessions of a user, if the actor may see them. `sessions` is None while Redis is unavailable."""
    current = session()
    may_see = actor().may("admin") or actor().owns(user_id)
    try:
        found = [entry.public_fields() for entry in services().sessions.get_list(user_id)] if may_see else []
    except Unavailable:
        found = None
    return {"may_see_sessions": may_see, "sessions": found, "current_id": current.id if current else None}
