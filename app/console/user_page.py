"""Renders the page of a user and the form for a new user."""

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, request

from app.console.activity import activity
from app.console.rendering import render
from app.console.user_form import Form
from app.errors import Unavailable
from app.http.access import actor, session
from app.http.services import services


def render_new_user(
    form: Form, errors: Mapping[str, str], status: int = HTTPStatus.OK, *, is_draft: bool = False
) -> Response:
    """The form for a new user."""
    return render("user_form.html", status, user=None, form=form, errors=errors, conflicts={}, is_draft=is_draft)


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
        is_own=current_actor.owns(user_id),
        needs_password=current_actor.owns(user_id)
        and current_actor.kind == "session"
        and current_actor.must_give_password(),
        self_editable=sorted(services().settings.self_editable_keys),
        may_change=current_actor.may_change(user_id, user["role"]),
        is_locked=current_actor.may("admin") and services().login.is_locked(user_id),
        tokens=services().tokens.get_list(user_id) if current_actor.may("admin") else [],
        done=request.args.get("done"),
        **_sessions(user_id),
        **(activity(user_id) if current_actor.may("viewer") else {"entries": [], "older": None, "authors": {}}),
    )


def _sessions(user_id: uuid.UUID) -> dict[str, Any]:
    """The sessions of a user, if the actor may see them. `sessions` is None while Redis is unavailable."""
    current = session()
    may_see = actor().may("admin") or actor().owns(user_id)
    try:
        found = [entry.public_fields() for entry in services().sessions.get_list(user_id)] if may_see else []
    except Unavailable:
        found = None
    return {"may_see_sessions": may_see, "sessions": found, "current_id": current.id if current else None}
