"""Rows of users: their values, from drafts and patches; what changed; locks, inserts and updates in a transaction."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Text, func, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import TSVECTOR

from app.auth import audit_log
from app.auth.permissions import AuditContext
from app.db.expressions import text_array
from app.errors import N_, FieldError, ValidationFailed
from app.identifiers import canonical
from app.models import FIELD_NAMES, HistoryEntry, table_of, user_json, users
from app.schemas import UserDraft, UserPatch
from app.search import text as search_text
from app.types import check_attributes
from app.users.reads import Document
from app.validation import RuleError

_SCALAR_FIELDS = tuple(name for name in FIELD_NAMES if name != "attributes")
_JSON: ColumnElement[str] = literal_column(user_json("users"), Text).label("json")

NEXT_VERSION: dict[str, Any] = {
    "version": users.c.version + 1,
    # Never earlier than before, even if the clock was set back.
    "updated_at": func.greatest(func.now(), users.c.updated_at),
}
"""Set by every change."""
END_SESSIONS: dict[str, Any] = {"session_epoch": users.c.session_epoch + 1}
"""Ends all sessions of the user."""


def replace_tags(old: Iterable[str], new: Iterable[str]) -> ColumnElement[Any]:
    """The search vector of a user with the tags `new` instead of `old`."""
    remaining = func.ts_delete(users.c.search_vector, text_array(old), type_=TSVECTOR)
    return remaining.op("||")(func.array_to_tsvector(text_array(new)))


SOFT_DELETE: dict[str, Any] = {"deleted_at": func.now(), "search_vector": replace_tags((), [search_text.DELETED_TAG])}
"""Moves a user to the deleted partition."""
RESTORE: dict[str, Any] = {"deleted_at": None, "search_vector": replace_tags([search_text.DELETED_TAG], ())}
"""Moves a user back to the active partition."""


def draft_values(draft: UserDraft) -> dict[str, Any]:
    """The fields of a draft, with defaults. Raises: ValidationFailed"""
    return _with_defaults(draft.model_dump(exclude={"password", "current_password"}))


def _with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with the defaults of username and name. Raises: ValidationFailed, if they have no email either."""
    username = values["username"] or values["email"]
    if not username:
        missing = N_("email or username has to be there")
        raise ValidationFailed([FieldError("email", missing), FieldError("username", missing)])
    return {**values, "username": username, "name": values["name"] or username[:200]}


def key_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """The derived keys by which users are compared and sorted."""
    email = values["email"]
    return {
        "username_key": canonical(values["username"]),
        "email_key": None if email is None else canonical(email),
        "name_key": search_text.sort_key(values["name"]),
    }


def with_derived_columns(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with all columns that derive from them."""
    lexemes = search_text.lexemes(values)
    return {**values, **key_columns(values), "search_vector": func.array_to_tsvector(text_array(lexemes))}


def apply_patch(user: Mapping[str, Any], patch: UserPatch) -> dict[str, Any]:
    """The fields of `user` after a JSON merge patch (RFC 7396). null sets the default.

    Raises: ValidationFailed, if the merged attributes break a rule, or neither email nor username is left
    """
    merged = {name: user[name] for name in FIELD_NAMES}
    for name in patch.model_fields_set - {"password", "current_password", "attributes"}:
        value = getattr(patch, name)
        merged[name] = UserDraft.model_fields[name].default if value is None else value
    if "attributes" in patch.model_fields_set:
        attributes = {} if patch.attributes is None else _merge(merged["attributes"], patch.attributes)
        try:
            merged["attributes"] = check_attributes(attributes)
        except RuleError as error:
            raise ValidationFailed([FieldError("attributes", error.message)]) from None
    return _with_defaults(merged)


def _merge(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396, section 2. The parser of the body limits the depth."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changed fields with old and new value, attributes by key. The values of a password are left out.

    A field that is missing in both is unchanged; a field that is missing in one is null there.
    """
    changes = [
        {"field": name, "old": before.get(name), "new": after.get(name)}
        for name in _SCALAR_FIELDS
        if before.get(name) != after.get(name)
    ]
    old, new = before.get("attributes") or {}, after.get("attributes") or {}
    changes += [
        {"field": f"attributes.{key}", "old": old.get(key), "new": new.get(key)}
        for key in sorted(old.keys() | new.keys())
        if key not in old or key not in new or _canonical_json(old[key]) != _canonical_json(new[key])
    ]
    if before.get("password_hash") != after.get("password_hash"):
        changes.append({"field": "password", "old": None, "new": None})
    return changes


def _canonical_json(value: Any) -> bytes:
    """JSON with sorted keys. Python's == would treat 1 and true as equal."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def insert_row(
    connection: Connection, audit_context: AuditContext, user_id: uuid.UUID, values: dict[str, Any]
) -> Document:
    """Insert a user with these fields and write its history entry. Returns the user. Raises: ConstraintViolation"""
    entries = table_of(HistoryEntry)
    last = connection.scalar(select(func.max(entries.c.version)).where(entries.c.user_id == user_id))
    # After the last version of a purged user with this id, so no old ETag becomes valid again.
    version = (last or 0) + 1
    # The epoch starts at the version, so no session of a purged user with this id becomes valid again.
    columns = {"id": user_id, "version": version, "session_epoch": version, **with_derived_columns(values)}
    created = document_of(connection.execute(insert(users).values(columns).returning(users.c.version, _JSON)).one())
    audit_log.record(connection, audit_context, user_id, version, "created", diff({}, values))
    return created


def update_row(connection: Connection, row: Row[Any], values: dict[str, Any]) -> Document:
    """Set `values` and the next version of a locked row. Returns the user."""
    statement = update(users).where(users.c.id == row.id).values({**values, **NEXT_VERSION})
    return document_of(connection.execute(statement.returning(users.c.version, _JSON)).one())


def lock_row(connection: Connection, user_id: uuid.UUID) -> Row[Any] | None:
    """Lock the row of a user, and select it with its JSON as `json`. None: there is none."""
    return connection.execute(select(users, _JSON).where(users.c.id == user_id).with_for_update()).one_or_none()


def document_of(row: Row[Any]) -> Document:
    """The user of a row with `version` and `json`."""
    return Document(row.version, row.json.encode())
