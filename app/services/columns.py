"""The columns of a user: from drafts and patches, and what commands set in SQL."""

import uuid
from collections.abc import Iterable
from typing import Any

import orjson
from pydantic_core import PydanticCustomError
from sqlalchemy import ColumnElement, Text, any_, bindparam, func
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

from app.errors import Fault, Invalid
from app.identifiers import canonical
from app.schemas import UserDraft, UserPatch
from app.services import history, words
from app.services.documents import users
from app.validation_messages import message_of_rule
from app.values import check_attributes

MOVED: dict[str, Any] = {
    "version": users.c.version + 1,
    # The clock may have been set back; order may not.
    "updated_at": func.greatest(func.now(), users.c.updated_at),
}
"""With every change."""
ENDED: dict[str, Any] = {"session_epoch": users.c.session_epoch + 1}
"""Ends all sessions."""


def values_of(draft: UserDraft) -> dict[str, Any]:
    """The columns of a draft, completed. Raises: Invalid"""
    return draft.completed().model_dump(exclude={"password", "current_password"})


def stored(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the columns that are derived from them."""
    found = words.lexemes(values)
    return {**values, **_keys(values), "words": func.array_to_tsvector(_texts(found))}


def named(values: dict[str, Any]) -> dict[str, Any]:
    """Username, email and name, with their keys."""
    return {**{name: values[name] for name in ("username", "email", "name")}, **_keys(values)}


def _keys(values: dict[str, Any]) -> dict[str, Any]:
    email = values["email"]
    return {
        "username_key": canonical(values["username"]),
        "email_key": None if email is None else canonical(email),
        "name_key": words.name_key(values["name"]),
    }


def trashed() -> dict[str, Any]:
    """What puts a user into the trash."""
    return {"deleted_at": func.now(), "words": marked((), [words.TRASH_MARK])}


def restored() -> dict[str, Any]:
    """What takes a user out of the trash."""
    return {"deleted_at": None, "words": marked([words.TRASH_MARK], ())}


def marked(old: Iterable[str], new: Iterable[str]) -> ColumnElement[Any]:
    """The words of a user with the marks `new` in place of `old`."""
    left = func.ts_delete(users.c.words, _texts(old), type_=TSVECTOR)
    return left.op("||")(func.array_to_tsvector(_texts(new)))


def among(column: ColumnElement[Any], values: Iterable[uuid.UUID] | Iterable[str]) -> ColumnElement[bool]:
    """The condition that `column` holds one of `values`, as one parameter, however many they are."""
    # An array has no collation; that of the column counts.
    return column == any_(bindparam(None, list(values), type_=ARRAY(type(column.type))))


def merged(row: Any, patch: UserPatch) -> UserDraft:
    """RFC 7396 on the user in `row`, which has its fields, the attributes as JSON.

    Raises: Invalid, when the attributes break a rule after merging
    """
    fields = {name: getattr(row, name) for name in history.FIELDS}
    attributes = orjson.loads(row.attributes)
    for name in patch.model_fields_set - {"password", "current_password", "attributes"}:
        value = getattr(patch, name)
        fields[name] = UserDraft.model_fields[name].default if value is None else value
    if "attributes" in patch.model_fields_set:
        attributes = _merge(attributes, patch.attributes) if patch.attributes is not None else {}
        try:
            check_attributes(attributes)
        except PydanticCustomError as error:
            raise Invalid([Fault("attributes", message_of_rule(error))]) from None
    return UserDraft.model_construct(**fields, attributes=attributes)


def _merge(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396, section 2. Bounded by the depth that the body was read with."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _texts(texts: Iterable[str]) -> ColumnElement[Any]:
    return bindparam(None, list(texts), type_=ARRAY(Text))
