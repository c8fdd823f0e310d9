"""The form of a person: what is shown of one, what was typed, and what to do when somebody else saved meanwhile."""

import uuid
from typing import Any
from urllib.parse import parse_qsl

import orjson
from flask import request

from app.console.pages import DRAFT
from app.errors import Fault, Invalid, Malformed
from app.schemas import UserDraft
from app.web.reading import parse_json, validated

FIELDS = ("name", "username", "email", "role", "active", "attributes")
Form = dict[str, str]
"""Field to text, as browsers send it; an unchecked box is empty."""


def blank() -> Form:
    """A new person. The key makes one of a form that is sent twice."""
    empty = dict.fromkeys((*FIELDS, "password"), "")
    return {**empty, "role": "member", "active": "on", "attributes": "{}", "key": str(uuid.uuid4())}


def shown(person: dict[str, Any]) -> Form:
    """A person as the form shows it, with the version that it is, and once more what it says, to be compared."""
    attributes = orjson.dumps(person["attributes"], option=orjson.OPT_INDENT_2).decode()
    texts = {name: person[name] or "" for name in ("name", "username", "email", "role")}
    fields = {**texts, "active": "on" if person["active"] else "", "attributes": attributes}
    return {**fields, "password": "", "version": str(person["version"]), "was": orjson.dumps(fields).decode()}


def given() -> Form:
    """The form as it was sent: the fields that it had, and its key."""
    return _read(dict(request.form.items()))


def drafted() -> dict[str, str] | None:
    """What was typed before signing in again, to be shown once more; None: this form is to be done."""
    draft = request.form.get(DRAFT)
    return dict(parse_qsl(draft, keep_blank_values=True)) if draft is not None else None


def filled() -> Form | None:
    """The same of the form of a person."""
    draft = drafted()
    return None if draft is None else _read(draft)


def settled(form: Form) -> Form:
    """The form after the choice between two versions: with the other one's value where that was chosen."""
    theirs = {
        name: request.form.get(f"theirs_{name}", "") for name in FIELDS if request.form.get(f"keep_{name}") == "theirs"
    }
    return {**form, **theirs}


def choices(mine: Form, theirs: Form) -> tuple[Form, dict[str, tuple[str, str]] | None]:
    """Two versions of a person, merged, and the fields where both changed what was there: my value and theirs.

    What I left as it was becomes theirs. None instead of fields: there is no difference at all.
    """
    was = _was(mine)
    differing = [name for name in FIELDS if not _same(name, mine[name], theirs[name])]
    if not differing and not mine["password"]:
        return theirs, None
    contested = {name: (mine[name], theirs[name]) for name in differing if not _same(name, mine[name], was.get(name))}
    merged = {name: theirs[name] for name in differing if name not in contested}
    return {**mine, **merged, "password": "", "version": theirs["version"], "was": theirs["was"]}, contested


def draft_of(form: Form) -> UserDraft:
    """The person that the form describes. Raises: Invalid, naming the field"""
    faults = []
    attributes = {}
    try:
        attributes = parse_json((form["attributes"].strip() or "{}").encode())
    except Malformed as error:
        faults = [Fault("attributes", str(error).replace("The body", "It"))]
    fields = {name: form[name] for name in ("name", "username", "email", "password", "role") if form[name].strip()}
    try:
        draft = validated(UserDraft, {**fields, "active": bool(form["active"]), "attributes": attributes})
    except Invalid as error:
        raise Invalid([*error.faults, *faults]) from None
    if faults:
        raise Invalid(faults)
    return draft


def _read(sent: dict[str, str]) -> Form:
    found = {name: sent[name].replace("\r\n", "\n") for name in (*FIELDS, "key", "version", "was") if name in sent}
    # A box that is not checked is not sent; that the form had it, is.
    if "has_active" in sent:
        found["active"] = "on" if sent.get("active") else ""
    return {**found, "password": sent.get("password", "")}


def _was(form: Form) -> dict[str, Any]:
    """What the form showed at first. It comes from the browser: nothing but the choice offered depends on it."""
    try:
        was = orjson.loads(form["was"])
    except orjson.JSONDecodeError:
        return {}
    return was if isinstance(was, dict) else {}


def _same(name: str, one: str, other: Any) -> bool:
    if name != "attributes":
        return bool(one == other)
    try:
        return _canonical(one) == _canonical(str(other))
    except Malformed:
        return bool(one == other)


def _canonical(text: str) -> bytes:
    return orjson.dumps(parse_json(text.encode()), option=orjson.OPT_SORT_KEYS)
