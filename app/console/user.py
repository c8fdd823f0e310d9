"""One person: read, make, change, delete and restore, and all that belongs to them."""

import uuid
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, redirect, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as WerkzeugResponse

from app.auth import login, sessions, tokens
from app.console.activity import activity
from app.console.i18n import translate
from app.console.rendering import faults_of, is_fragment, page, pages_of, refilled
from app.console.trashed_user import trashed_user_page
from app.console.user_form import Form, blank, choices, draft_of, edited, filled, given, settled, shown
from app.errors import Conflict, Forbidden, Invalid, KeyReused, Malformed, NotFound, Stale, Taken, TooMany, Unavailable
from app.extensions import resources
from app.http.auth import actor, caller, session
from app.http.parsing import user_id_of
from app.http.problems import STATUSES
from app.types import Precondition
from app.users import commands, reads
from app.users.idempotency import Attempt

_TRIES = 3
"""Saves of a form while others save other fields of the same user."""
_REFUSALS = (Invalid, Malformed, Taken, Forbidden, Conflict)

blueprint = pages_of("console_user")
refilled("console_user.create")
refilled("console_user.update")


@blueprint.get("/people/new")
def new() -> Response:
    """The form for a new person."""
    return _form(blank(), {})


@blueprint.post("/people/new")
def create() -> WerkzeugResponse:
    """Make a person. The same form sent twice makes one."""
    typed = filled()
    if typed is not None:
        return _form({**blank(), **typed}, {}, is_draft=True)
    form = {**blank(), "key": "", **given()}
    try:
        draft = draft_of(form)
        ttl = timedelta(hours=resources().settings.idempotency_ttl_h)
        attempt = Attempt(f"console:{form['key']}", draft, ttl, actor().principal) if form["key"] else None
        _, user_id, _ = commands.register(draft, caller(), attempt)
    except KeyReused:
        faults = {
            "form": gettext("This form made somebody already. It was not sent again: look it over, then send it.")
        }
        return _form({**form, "key": str(uuid.uuid4())}, faults, HTTPStatus.UNPROCESSABLE_ENTITY)
    except _REFUSALS as error:
        return _form(form, dict(faults_of(error)), HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(url_for(".show", user_id=user_id, done="made"), HTTPStatus.SEE_OTHER)


@blueprint.get("/people/<user_id>")
def show(user_id: str) -> Response:
    """A person: details, tokens, sessions, activity."""
    found = user_id_of(user_id)
    if is_fragment() and actor().may("viewer"):
        return page("_activity.html", **activity(found), user_id=found)
    try:
        person = orjson.loads(commands.fetch(found).body)
    except NotFound:
        if not actor().may("viewer"):
            raise
        return trashed_user_page(found)
    return _person(found, person, shown(person), {})


@blueprint.post("/people/<user_id>")
def update(user_id: str) -> WerkzeugResponse:
    """Save the fields that were edited. Of those that somebody else changed meanwhile, both values are offered."""
    found = user_id_of(user_id)
    try:
        person = _now(found)
    except NotFound:
        if not actor().may("viewer"):
            raise
        return trashed_user_page(found, gettext("This user was deleted meanwhile. Nothing was saved."))
    draft = filled()
    if draft is not None:
        return _person(found, person, {**shown(person), **draft}, {}, is_draft=True)
    # What the form does not offer to this actor stays as it is.
    form = settled({**shown(person), "version": "", "was": "{}", **given()})
    for _ in range(_TRIES):
        try:
            commands.replace(found, edited(form, person), _is_shown(form, person), caller())
        except Stale:
            person = _now(found)
            form, contested = choices(form, shown(person))
            # Whether they changed the password too can't be seen.
            if contested or form["password"]:
                break
        except (Forbidden, TooMany) as error:
            return _person(found, person, form, dict(faults_of(error)), STATUSES[type(error)])
        except _REFUSALS as error:
            return _person(found, person, form, dict(faults_of(error)), HTTPStatus.UNPROCESSABLE_ENTITY)
        else:
            return redirect(url_for(".show", user_id=found, done="saved"), HTTPStatus.SEE_OTHER)
    return _person(found, person, form, {}, HTTPStatus.CONFLICT, contested=contested)


@blueprint.post("/people/<user_id>/delete")
def delete(user_id: str) -> WerkzeugResponse:
    """Put a person into the trash; the next page offers to undo it."""
    found = user_id_of(user_id)
    # Sent twice: they are where they should be. Who never was here is not found by the undo.
    with suppress(NotFound):
        commands.remove(found, lambda _: True, caller())
    return redirect(url_for("console_users.index", done="deleted", undo=found), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/restore")
def restore(user_id: str) -> WerkzeugResponse:
    """Take a person out of the trash."""
    found = user_id_of(user_id)
    try:
        commands.restore(found, lambda _: True, caller())
    except Taken as error:
        return trashed_user_page(found, translate(error.message))
    return redirect(url_for(".show", user_id=found, done="restored"), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/purge")
def purge(user_id: str) -> WerkzeugResponse:
    """Remove a person for good, once that was confirmed."""
    found = user_id_of(user_id)
    if "sure" not in request.form:
        return page("confirm_purge.html", person=_living_or_deleted(found))
    commands.purge(found, lambda _: True, caller())
    return redirect(url_for("console_users.index", deleted="true", done="purged"), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/sessions/<session_id>/end")
def end_session(user_id: str, session_id: str) -> WerkzeugResponse:
    """End a session of a person."""
    found = user_id_of(user_id)
    sessions.end(found, session_id, caller())
    return redirect(url_for(".show", user_id=found, done="ended"), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/unlock")
def unlock(user_id: str) -> WerkzeugResponse:
    """Forget the wrong passwords that keep a person out."""
    found = user_id_of(user_id)
    login.unlock(found, caller())
    return redirect(url_for(".show", user_id=found, done="unlocked"), HTTPStatus.SEE_OTHER)


def _living_or_deleted(user_id: uuid.UUID) -> dict[str, Any]:
    """A user, wherever it is. Raises: NotFound"""
    try:
        found: dict[str, Any] = orjson.loads(commands.fetch_deleted(user_id).body)
    except NotFound:
        return _now(user_id)
    return found


def _now(user_id: uuid.UUID) -> dict[str, Any]:
    """A user as PostgreSQL has it: what other hosts saved may not be known in memory yet. Raises: NotFound"""
    found: dict[str, Any] = orjson.loads(reads.look(user_id).body)
    return found


def _is_shown(form: Form, person: dict[str, Any]) -> Precondition:
    """Whether the user is still in the version that the form showed, which is also that of `person`."""
    return lambda there: str(there) == str(person["version"]) == form["version"]


def _form(form: Form, faults: dict[str, str], status: int = HTTPStatus.OK, *, is_draft: bool = False) -> Response:
    values = {"person": None, "given": form, "faults": faults, "contested": {}, "is_draft": is_draft}
    return page("user_form.html", status, **values)


def _person(
    user_id: uuid.UUID,
    person: dict[str, Any],
    form: Form,
    faults: dict[str, str],
    status: int = HTTPStatus.OK,
    contested: dict[str, tuple[str, str]] | None = None,
    *,
    is_draft: bool = False,
) -> Response:
    who, current = actor(), session()
    sees_sessions = who.may("admin") or who.owns(user_id)
    try:
        open_sessions = [one.fields() for one in sessions.of_user(user_id)] if sees_sessions else []
    except Unavailable:
        open_sessions = None
    return page(
        "user.html",
        status,
        person=person,
        user_id=user_id,
        given=form,
        faults=faults,
        contested=contested or {},
        is_conflict=contested is not None,
        is_draft=is_draft,
        is_own=who.owns(user_id),
        needs_password=who.owns(user_id) and who.kind == "session" and who.must_give_password(),
        self_editable=sorted(resources().settings.self_editable_keys),
        may_change=who.may_change(user_id, person["role"]),
        sees_sessions=sees_sessions,
        sessions=open_sessions,
        current=current.id if current else None,
        is_locked=who.may("admin") and login.is_locked(user_id),
        tokens=tokens.listed(user_id) if who.may("admin") else [],
        done=request.args.get("done"),
        **(activity(user_id) if who.may("viewer") else {"entries": [], "older": None, "authors": {}}),
    )
