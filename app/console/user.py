"""One user: create, read, update, delete, restore and purge, and end sessions."""

import uuid
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, redirect, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as WerkzeugResponse

from app import errors
from app.console import user_form
from app.console.error_pages import console_blueprint, with_error
from app.console.i18n import translate
from app.console.messages import errors_by_field
from app.console.rendering import is_fragment, render
from app.console.user_form import Form
from app.console.user_page import activity, render_new_user, render_trashed_user, render_user
from app.http.access import actor, audit_context
from app.http.parsing import user_id_of
from app.http.services import services
from app.types import Precondition

_MAX_ATTEMPTS = 3
"""Attempts to save a form while other requests change other fields of the same user."""
_FORM_ERRORS = (errors.ValidationFailed, errors.AlreadyTaken, errors.Forbidden, errors.Conflict, errors.RateLimited)
"""Errors that the form shows. An error page shows any other."""

blueprint = console_blueprint("console_user")


@blueprint.get("/people/new")
def new() -> Response:
    """The form for a new user."""
    return render_new_user(user_form.empty_form(), {})


@blueprint.post("/people/new")
def create() -> WerkzeugResponse:
    """Create a user. A form that is sent twice creates one user."""
    draft = user_form.draft_form()
    if draft is not None:
        return render_new_user({**user_form.empty_form(), **draft}, {}, is_draft=True)
    form = {**user_form.empty_form(), "key": "", **user_form.sent_form()}
    try:
        user = user_form.new_user(form)
        key = f"console:{form['key']}" if form["key"] else None
        _, user_id, _ = services().users.create(user, audit_context(), key)
    except errors.IdempotencyKeyReused as error:
        sent = gettext("This form already created a user. To create another user, review the form and send it again.")
        return with_error(render_new_user({**form, "key": str(uuid.uuid4())}, {"form": sent}), error)
    except _FORM_ERRORS as error:
        return with_error(render_new_user(form, errors_by_field(error)), error)
    return redirect(url_for(".show", user_id=user_id, done="created"), HTTPStatus.SEE_OTHER)


@blueprint.get("/people/<user_id>")
def show(user_id: str) -> Response:
    """A user with tokens, sessions and activity; for a script, a page of the activity."""
    found_id = user_id_of(user_id)
    if is_fragment() and actor().may("viewer"):
        return render("_activity.html", **activity(found_id), user_id=found_id)
    try:
        user = _current(found_id)
    except errors.NotFound:
        return render_trashed_user(found_id)
    return render_user(found_id, user, user_form.form_of_user(user), {})


@blueprint.post("/people/<user_id>")
def update(user_id: str) -> WerkzeugResponse:
    """Save the edited fields. A field that was changed concurrently is shown with both values to choose from."""
    found_id = user_id_of(user_id)
    try:
        user = _current(found_id)
    except errors.NotFound:
        return render_trashed_user(found_id, gettext("This user was deleted. Your changes were not saved."))
    draft = user_form.draft_form()
    if draft is not None:
        return render_user(found_id, user, {**user_form.form_of_user(user), **draft}, {}, is_draft=True)
    # Fields that the form does not show to this actor keep their value.
    saved = {**user_form.form_of_user(user), "version": "", "original": "{}"}
    form = user_form.apply_choices({**saved, **user_form.sent_form()})
    try:
        return _save(found_id, user, form)
    except _FORM_ERRORS as error:
        return with_error(render_user(found_id, user, form, errors_by_field(error)), error)


@blueprint.post("/people/<user_id>/delete")
def delete(user_id: str) -> WerkzeugResponse:
    """Move a user to the trash. The next page offers to undo it."""
    found_id = user_id_of(user_id)
    # The form may have been sent twice. If there never was such a user, the undo fails.
    with suppress(errors.NotFound):
        services().users.delete(found_id, lambda _: True, audit_context())
    return redirect(url_for("console_users.index", done="deleted", undo=found_id), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/restore")
def restore(user_id: str) -> WerkzeugResponse:
    """Restore a user from the trash."""
    found_id = user_id_of(user_id)
    try:
        services().users.restore(found_id, lambda _: True, audit_context())
    except errors.AlreadyTaken as error:
        return render_trashed_user(found_id, translate(error.message))
    return redirect(url_for(".show", user_id=found_id, done="restored"), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/purge")
def purge(user_id: str) -> WerkzeugResponse:
    """Permanently delete a user, after confirmation."""
    found_id = user_id_of(user_id)
    if "confirmed" not in request.form:
        return render("confirm_purge.html", user=_active_or_deleted(found_id))
    services().users.purge(found_id, lambda _: True, audit_context())
    return redirect(url_for("console_users.index", deleted="true", done="purged"), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/sessions/<session_id>/end")
def end_session(user_id: str, session_id: str) -> WerkzeugResponse:
    """End a session of a user."""
    services().sessions.revoke(user_id_of(user_id), session_id, audit_context())
    return redirect(url_for(".show", user_id=user_id, done="ended"), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/unlock")
def unlock(user_id: str) -> WerkzeugResponse:
    """Reset the counter of failed sign-ins, which locks the account."""
    services().login.unlock(user_id_of(user_id), audit_context())
    return redirect(url_for(".show", user_id=user_id, done="unlocked"), HTTPStatus.SEE_OTHER)


def _save(user_id: uuid.UUID, user: dict[str, Any], form: Form) -> WerkzeugResponse:
    """Save a form, merged with concurrent changes of other fields. Returns the form with its conflicts, if any."""
    conflicts: dict[str, tuple[str, str]] = {}
    for _ in range(_MAX_ATTEMPTS):
        try:
            edited = user_form.edited_user(form, user)
            services().users.replace(user_id, edited, _matches_version(form, user), audit_context())
        except errors.VersionConflict:
            user = _current(user_id)
            form, conflicts = user_form.merge_conflict(form, user_form.form_of_user(user))
            # A concurrent change of the password cannot be detected.
            if conflicts or form["password"]:
                break
        else:
            return redirect(url_for(".show", user_id=user_id, done="saved"), HTTPStatus.SEE_OTHER)
    return render_user(user_id, user, form, {}, HTTPStatus.CONFLICT, conflicts=conflicts)


def _active_or_deleted(user_id: uuid.UUID) -> dict[str, Any]:
    """A user, in the trash or not. Raises: NotFound"""
    try:
        user: dict[str, Any] = orjson.loads(services().user_reads.get_deleted(user_id).body)
    except errors.NotFound:
        return _current(user_id)
    return user


def _current(user_id: uuid.UUID) -> dict[str, Any]:
    """A user who is not in the trash. Raises: NotFound"""
    user: dict[str, Any] = orjson.loads(services().user_reads.get(user_id).body)
    return user


def _matches_version(form: Form, user: dict[str, Any]) -> Precondition:
    """Whether the stored version is the version of both the form and `user`."""
    return lambda version: str(version) == str(user["version"]) == form["version"]
