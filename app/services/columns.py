"""From drafts and patches to the columns of a user."""

from typing import Any

import orjson
from sqlalchemy import Row, Text, bindparam, func
from sqlalchemy.dialects.postgresql import ARRAY

from app.errors import Fault, Invalid
from app.schemas import UserDraft, UserPatch
from app.services import history, words
from app.values import check_attributes


def values_of(draft: UserDraft) -> dict[str, Any]:
    """The columns of a draft, completed. Raises: Invalid"""
    try:
        whole = draft.completed()
    except ValueError as error:
        raise Invalid([Fault("email", str(error)), Fault("username", str(error))]) from None
    return whole.model_dump(exclude={"password"})


def stored(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the columns that are derived from them."""
    email = values["email"]
    return {
        **values,
        "username_key": words.identity_key(values["username"]),
        "email_key": None if email is None else words.identity_key(email),
        "name_key": words.name_key(values["name"]),
        "words": func.array_to_tsvector(bindparam(None, words.lexemes(values), type_=ARRAY(Text))),
    }


def merged(row: Row[Any], patch: UserPatch) -> UserDraft:
    """RFC 7396 on the user in `row`. Raises: Invalid, when the attributes break a rule after merging"""
    fields = {name: getattr(row, name) for name in history.FIELDS}
    attributes = orjson.loads(row.attributes)
    for name in patch.model_fields_set - {"password", "attributes"}:
        value = getattr(patch, name)
        fields[name] = UserDraft.model_fields[name].default if value is None else value
    if "attributes" in patch.model_fields_set:
        attributes = _merge(attributes, patch.attributes) if patch.attributes is not None else {}
        try:
            check_attributes(attributes)
        except ValueError as error:
            raise Invalid([Fault("attributes", str(error))]) from None
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
