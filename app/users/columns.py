"""The columns of a user: from drafts and patches, and what commands set in SQL."""

from collections.abc import Iterable
from typing import Any

import orjson
from pydantic_core import PydanticCustomError
from sqlalchemy import ColumnElement, func
from sqlalchemy.dialects.postgresql import TSVECTOR

from app.db.expressions import text_array
from app.errors import FieldError, ValidationFailed
from app.identifiers import canonical
from app.models import users
from app.schemas import UserDraft, UserPatch
from app.search import text as search_text
from app.types import check_attributes
from app.users import history
from app.validation_messages import message_of_rule

MOVED: dict[str, Any] = {
    "version": users.c.version + 1,
    # The clock may have been set back; order may not.
    "updated_at": func.greatest(func.now(), users.c.updated_at),
}
"""With every change."""
ENDED: dict[str, Any] = {"session_epoch": users.c.session_epoch + 1}
"""Ends all sessions."""


def values_of(draft: UserDraft) -> dict[str, Any]:
    """The columns of a draft, completed. Raises: ValidationFailed"""
    return draft.completed().model_dump(exclude={"password", "current_password"})


def stored(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the columns that are derived from them."""
    found = search_text.lexemes(values)
    return {**values, **_keys(values), "search_vector": func.array_to_tsvector(text_array(found))}


def named(values: dict[str, Any]) -> dict[str, Any]:
    """Username, email and name, with their keys."""
    return {**{name: values[name] for name in ("username", "email", "name")}, **_keys(values)}


def _keys(values: dict[str, Any]) -> dict[str, Any]:
    email = values["email"]
    return {
        "username_key": canonical(values["username"]),
        "email_key": None if email is None else canonical(email),
        "name_key": search_text.sort_key(values["name"]),
    }


def trashed() -> dict[str, Any]:
    """What puts a user into the trash."""
    return {"deleted_at": func.now(), "search_vector": marked((), [search_text.DELETED_TAG])}


def restored() -> dict[str, Any]:
    """What takes a user out of the trash."""
    return {"deleted_at": None, "search_vector": marked([search_text.DELETED_TAG], ())}


def marked(old: Iterable[str], new: Iterable[str]) -> ColumnElement[Any]:
    """The words of a user with the marks `new` in place of `old`."""
    left = func.ts_delete(users.c.search_vector, text_array(old), type_=TSVECTOR)
    return left.op("||")(func.array_to_tsvector(text_array(new)))


def merged(row: Any, patch: UserPatch) -> UserDraft:
    """RFC 7396 on the user in `row`, which has its fields, the attributes as JSON.

    Raises: ValidationFailed, when the attributes break a rule after merging
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
            raise ValidationFailed([FieldError("attributes", message_of_rule(error))]) from None
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
