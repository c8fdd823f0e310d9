"""The user form: its values, their validation, and the three-way merge of concurrent changes."""

import json
import uuid
from collections.abc import Iterable
from typing import Any, TypeVar

import orjson
from flask import request

from app.console.drafts import sent_draft
from app.errors import N_, BadRequest, FieldError, ValidationFailed
from app.http.parsing import parse_json, validated
from app.models import FIELD_NAMES
from app.schemas import UserDraft, UserReplacement

Model = TypeVar("Model", bound=UserDraft)
_TEXT_FIELDS = tuple(name for name in FIELD_NAMES if name not in ("active", "attributes"))
Form = dict[str, str]
"""Field to value, as browsers send it. A checkbox that is not checked is empty."""


def empty_form() -> Form:
    """The form for a new user. Its key makes the creation idempotent when the form is sent twice."""
    fields = dict.fromkeys((*FIELD_NAMES, "password"), "")
    return {**fields, "role": "member", "active": "on", "attributes": "{}", "key": str(uuid.uuid4())}


def form_of_user(user: dict[str, Any]) -> Form:
    """The form of an existing user. `original` holds the values as JSON, for the merge."""
    attributes = orjson.dumps(user["attributes"], option=orjson.OPT_INDENT_2).decode()
    texts = {name: user[name] or "" for name in _TEXT_FIELDS}
    fields = {**texts, "active": "on" if user["active"] else "", "attributes": attributes}
    return {**fields, "password": "", "version": str(user["version"]), "original": orjson.dumps(fields).decode()}


def sent_form() -> Form:
    """The form in the current request. Fields that it does not have are missing."""
    return _parse(dict(request.form.items()))


def draft_form() -> Form | None:
    """The form in the draft of the current request. None: the request has no draft."""
    draft = sent_draft()
    return None if draft is None else _parse(draft)


def apply_choices(form: Form) -> Form:
    """The form after the user resolved a conflict: with their values where the user chose them."""
    chosen = [name for name in FIELD_NAMES if request.form.get(f"keep_{name}") == "theirs"]
    return {**form, **{name: request.form.get(f"theirs_{name}", "") for name in chosen}}


def merge_conflict(mine: Form, theirs: Form) -> tuple[Form, dict[str, tuple[str, str]]]:
    """Merge two forms of one user. Returns the merged form, and the conflicts: field to my value and their value.

    A field that only one of the two changed has the changed value. A conflict is a field that both changed to
    different values.
    """
    original = _original(mine)
    differing = [name for name in FIELD_NAMES if not _equal(name, mine[name], theirs[name])]
    changed = [name for name in differing if not _equal(name, mine[name], original.get(name))]
    conflicts = {
        name: (mine[name], theirs[name]) for name in changed if not _equal(name, theirs[name], original.get(name))
    }
    merged = {name: theirs[name] for name in differing if name not in changed}
    return {**mine, **merged, "version": theirs["version"], "original": theirs["original"]}, conflicts


def new_user(form: Form) -> UserDraft:
    """The new user that the form describes. Raises: ValidationFailed"""
    return _validated(UserDraft, form, FIELD_NAMES)


def edited_user(form: Form, user: dict[str, Any]) -> UserReplacement:
    """`user` with the fields that were edited in the form. Other fields keep their exact value.

    Raises: ValidationFailed
    """
    original = _original(form)
    edited = [name for name in FIELD_NAMES if not _equal(name, form[name], original.get(name))]
    draft = _validated(UserReplacement, form, edited)
    new = {name: getattr(draft, name) for name in (*edited, "password", "current_password")}
    return UserReplacement.model_construct(**{name: user[name] for name in FIELD_NAMES}).model_copy(update=new)


def _validated(model: type[Model], form: Form, names: Iterable[str]) -> Model:
    """A model of these fields of the form and its passwords. Other fields have their defaults.

    Raises: ValidationFailed
    """
    texts = {name: form[name] for name in _TEXT_FIELDS if name in names and form[name].strip()}
    passwords = {name: form[name] for name in ("password", "current_password") if form.get(name)}
    values: dict[str, Any] = {name: text for name, text in (texts | passwords).items() if name in model.model_fields}
    field_errors = []
    if "active" in names:
        values["active"] = bool(form["active"])
    if "attributes" in names:
        try:
            values["attributes"] = parse_json((form["attributes"].strip() or "{}").encode(), N_("The value"))
        except BadRequest as error:
            field_errors = [FieldError("attributes", error.message)]
    try:
        draft = validated(model, values)
    except ValidationFailed as error:
        raise ValidationFailed([*error.field_errors, *field_errors]) from None
    if field_errors:
        raise ValidationFailed(field_errors)
    return draft


def _parse(sent: dict[str, str]) -> Form:
    names = (*FIELD_NAMES, "key", "version", "original")
    form = {name: sent[name].replace("\r\n", "\n") for name in names if name in sent}
    # Browsers do not send a checkbox that is not checked. A hidden field tells that the form has one.
    if "has_active" in sent:
        form["active"] = "on" if sent.get("active") else ""
    return {**form, **{name: sent.get(name, "") for name in ("password", "current_password")}}


def _original(form: Form) -> dict[str, Any]:
    """The values that the form showed first. The browser sends them, so only the merge may depend on them."""
    try:
        original = orjson.loads(form["original"])
    except orjson.JSONDecodeError:
        return {}
    return original if isinstance(original, dict) else {}


def _equal(name: str, one: str, other: Any) -> bool:
    """Whether two values of a field are equal. Attributes are compared as JSON."""
    if name != "attributes":
        return bool(one == other)
    try:
        return _canonical(one) == _canonical(str(other))
    except BadRequest:
        return bool(one == other)


def _canonical(text: str) -> str:
    # Not orjson, which refuses integers of more than 64 bits.
    return json.dumps(parse_json(text.encode()), sort_keys=True)
