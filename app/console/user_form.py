"""The form of a person: what is shown of one, what was typed, and what to do when somebody else saved meanwhile."""

import json
import uuid
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from flask import request

from app.console.rendering import DRAFT
from app.errors import N_, Fault, Invalid, Malformed
from app.http.parsing import validated
from app.http.strict_json import parse_json
from app.schemas import UserDraft, UserReplacement

Draft = TypeVar("Draft", bound=UserDraft)
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


def choices(mine: Form, theirs: Form) -> tuple[Form, dict[str, tuple[str, str]]]:
    """Two versions of a user, merged, and the fields that both changed, to different values: my value and theirs.

    A field that I left alone becomes theirs, a field that they left alone stays mine.
    """
    was = _was(mine)
    differing = [name for name in FIELDS if not _same(name, mine[name], theirs[name])]
    mine_changed = [name for name in differing if not _same(name, mine[name], was.get(name))]
    contested = {
        name: (mine[name], theirs[name]) for name in mine_changed if not _same(name, theirs[name], was.get(name))
    }
    merged = {name: theirs[name] for name in differing if name not in mine_changed}
    return {**mine, **merged, "version": theirs["version"], "was": theirs["was"]}, contested


def draft_of(form: Form) -> UserDraft:
    """The new person that the form describes. Raises: Invalid, naming the field"""
    return _validated(UserDraft, form, FIELDS)


def edited(form: Form, person: dict[str, Any]) -> UserReplacement:
    """`person` with the fields that differ from what the form showed; all else stays, to the byte.

    Raises: Invalid, naming the field
    """
    was = _was(form)
    changed = [name for name in FIELDS if not _same(name, form[name], was.get(name))]
    draft = _validated(UserReplacement, form, changed)
    new = {name: getattr(draft, name) for name in (*changed, "password", "current_password")}
    return UserReplacement.model_construct(**{name: person[name] for name in FIELDS}).model_copy(update=new)


def _validated(model: type[Draft], form: Form, names: Iterable[str]) -> Draft:
    """These fields of the form and its passwords, checked; the others have their defaults. Raises: Invalid"""
    texts = {name: form[name] for name in names if name not in ("active", "attributes") and form[name].strip()}
    passwords = {name: form[name] for name in ("password", "current_password") if form.get(name)}
    values: dict[str, Any] = {name: text for name, text in (texts | passwords).items() if name in model.model_fields}
    faults = []
    if "active" in names:
        values["active"] = bool(form["active"])
    if "attributes" in names:
        try:
            values["attributes"] = parse_json((form["attributes"].strip() or "{}").encode(), N_("It"))
        except Malformed as error:
            faults = [Fault("attributes", error.message)]
    try:
        draft = validated(model, values)
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
    return {**found, **{name: sent.get(name, "") for name in ("password", "current_password")}}


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


def _canonical(text: str) -> str:
    # Not orjson: it refuses the integers of more than 64 bits that somebody may type.
    return json.dumps(parse_json(text.encode()), sort_keys=True)
