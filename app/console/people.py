"""People: find, read, make, change, delete and restore them."""

import uuid
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.pages import faults_of, page, pages_of
from app.errors import Conflict, Fault, Forbidden, Invalid, Malformed, Stale, Taken, Unavailable
from app.schemas import ListQuery, UserDraft
from app.services import history, listing, sessions, users
from app.web.access import actor, caller, session
from app.web.reading import parse_json, user_id_of, validated

_FILTERS = ("q", "role", "active", "deleted", "sort")
_FORM = ("name", "username", "email", "role", "active", "attributes", "password")
_HISTORY = 20

blueprint = pages_of("people")


@blueprint.get("/people")
def index() -> Response:
    """A page of the list; all that it shows is in its address."""
    given = {name: value for name, value in request.args.items() if value}
    removed = given.pop("removed", None)
    try:
        query = validated(ListQuery, {key: value for key, value in given.items() if key in (*_FILTERS, "cursor")})
        found = listing.page(query)
    except (Invalid, Malformed) as error:
        return page("people.html", 422, people=[], given=given, faults=faults_of(error), links={}, removed=None)
    chosen = {name: given[name] for name in _FILTERS if name in given}
    links = {
        name: f"?{urlencode({**chosen, 'cursor': cursor})}"
        for name, cursor in (("next", found.next_cursor), ("previous", found.previous_cursor))
        if cursor
    }
    return page(
        "people.html",
        people=orjson.loads(found.body),
        given=given,
        faults={},
        links=links,
        removed=removed,
        sorted_by=lambda key: f"?{urlencode({**chosen, 'sort': key})}",
    )


@blueprint.get("/people/new")
def new() -> Response:
    """The form for a new person."""
    return page(
        "person_form.html", person=None, given={"role": "member", "active": "on", "attributes": "{}"}, faults={}
    )


@blueprint.post("/people/new")
def create() -> WerkzeugResponse:
    """Make a person."""
    given = _given()
    try:
        _, user_id, _ = users.register(_draft(given), caller())
    except (Invalid, Malformed, Taken, Forbidden) as error:
        return page("person_form.html", 422, person=None, given=given, faults=faults_of(error))
    return redirect(url_for(".show", user_id=user_id), HTTPStatus.SEE_OTHER)


@blueprint.get("/people/<user_id>")
def show(user_id: str) -> Response:
    """A person: details, activity, sessions."""
    found = user_id_of(user_id)
    person = orjson.loads(users.fetch(found).body)
    return _person(found, person, _shown(person), {}, 200)


@blueprint.post("/people/<user_id>")
def save(user_id: str) -> WerkzeugResponse:
    """Save a person, unless somebody else has meanwhile: then both versions are shown."""
    found, given = user_id_of(user_id), _given()
    version = request.form.get("version", "")
    person = orjson.loads(users.fetch(found).body)
    for name in ("role", "username", "active"):
        # What the form does not offer to this actor stays as it is.
        if f"has_{name}" not in request.form:
            given[name] = _shown(person)[name]
    try:
        users.replace(found, _draft(given), lambda there: str(there) == version, caller())
    except Stale:
        faults = {"form": "Somebody else saved this person meanwhile. Where it differs, their value is below yours."}
        person = orjson.loads(users.fetch(found).body)
        return _person(found, person, given, faults, 409, theirs=_shown(person))
    except (Invalid, Malformed, Taken, Forbidden, Conflict) as error:
        return _person(found, person, given, faults_of(error), 422)
    return redirect(url_for(".show", user_id=found), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/delete")
def delete(user_id: str) -> WerkzeugResponse:
    """Put a person into the trash; the next page offers to undo it."""
    found = user_id_of(user_id)
    users.remove(found, lambda _: True, caller())
    return redirect(url_for(".index", removed=found), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/restore")
def restore(user_id: str) -> WerkzeugResponse:
    """Take a person out of the trash."""
    found = user_id_of(user_id)
    users.restore(found, lambda _: True, caller())
    return redirect(url_for(".show", user_id=found), HTTPStatus.SEE_OTHER)


@blueprint.post("/people/<user_id>/sessions/<session_id>/end")
def end_session(user_id: str, session_id: str) -> WerkzeugResponse:
    """End a session of a person."""
    found = user_id_of(user_id)
    sessions.end(found, session_id, caller())
    return redirect(url_for(".show", user_id=found), HTTPStatus.SEE_OTHER)


def _person(
    user_id: uuid.UUID,
    person: dict[str, Any],
    given: dict[str, str],
    faults: Any,
    status: int,
    theirs: dict[str, str] | None = None,
) -> Response:
    who = actor()
    try:
        open_sessions = sessions.of_user(user_id) if who.may("admin") or who.owns(user_id) else []
    except Unavailable:
        open_sessions = None
    entries = orjson.loads(history.page(user_id, _HISTORY, None).body) if who.may("viewer") else []
    current = session()
    return page(
        "person.html",
        status,
        person=person,
        given=given,
        faults=faults,
        theirs=theirs or {},
        is_own=who.owns(user_id),
        may_change=who.may_change(user_id, person["role"]),
        sessions=[one.fields() for one in open_sessions] if open_sessions is not None else None,
        current=current.id if current else None,
        entries=entries,
    )


def _given() -> dict[str, str]:
    """The form as it was sent."""
    return {name: request.form.get(name, "") for name in _FORM}


def _shown(person: dict[str, Any]) -> dict[str, str]:
    """A person as the form shows it."""
    attributes = orjson.dumps(person["attributes"], option=orjson.OPT_INDENT_2).decode()
    texts = {name: person[name] or "" for name in ("name", "username", "email", "role")}
    return {**texts, "active": "on" if person["active"] else "", "attributes": attributes, "password": ""}


def _draft(given: dict[str, str]) -> UserDraft:
    """The person that the form describes. Raises: Invalid, naming the field"""
    try:
        attributes = parse_json((given["attributes"].strip() or "{}").encode())
    except Malformed as error:
        raise Invalid([Fault("attributes", str(error).replace("The body ", "").rstrip("."))]) from None
    fields = {name: given[name] for name in ("name", "username", "email", "password", "role") if given[name].strip()}
    return validated(UserDraft, {**fields, "active": bool(given["active"]), "attributes": attributes})
