"""The bulk actions: what each changes, and which role it requires."""

from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Row

from app.auth.permissions import Actor
from app.errors import N_, FieldError, Forbidden, ValidationFailed
from app.models import ROLES
from app.search.text import field_tag
from app.types import ROLE_NAMES, Role
from app.users.rows import END_SESSIONS, RESTORE, SOFT_DELETE, diff, replace_tags

Action = Literal["activate", "deactivate", "role", "delete", "restore"]


@dataclass(frozen=True, slots=True)
class BulkAction:
    """entry: its name in the history. values: the columns that it sets. after: new values of `role` and `active`."""

    entry: str
    values: dict[str, Any]
    after: dict[str, Any] = field(default_factory=dict)

    def require_allowed(self, actor: Actor, row: Row[Any]) -> None:
        """Apply the rules of the command on a single user. Raises: Forbidden"""
        if self.after:
            actor.require_change(row.id, row.role, [change["field"] for change in self.changes(row)])
        else:
            actor.require_role_above(row.role)

    def changes(self, row: Row[Any]) -> list[dict[str, Any]]:
        """The changed fields of a user, for the history."""
        return diff({name: getattr(row, name) for name in self.after}, self.after)


def bulk_action_of(action: Action, role: Role | None) -> BulkAction:
    """The description of an action. role: the new role of users. Raises: ValidationFailed (`role` is missing)"""
    if action == "delete":
        return BulkAction("deleted", {**SOFT_DELETE, **END_SESSIONS})
    if action == "restore":
        return BulkAction("restored", RESTORE)
    if action == "role":
        if role is None:
            raise ValidationFailed([FieldError("role", N_("is required"))])
        search_vector = replace_tags([field_tag("role", name) for name in ROLES], [field_tag("role", role)])
        return BulkAction("changed", {"role": role, "search_vector": search_vector}, {"role": role})
    active = action == "activate"
    search_vector = replace_tags([field_tag("active", not active)], [field_tag("active", active)])
    values = {"active": active, "search_vector": search_vector, **({} if active else END_SESSIONS)}
    return BulkAction("changed", values, {"active": active})


def require_role_for(actor: Actor, action: Action) -> None:
    """Require the minimum role for an action. Raises: Forbidden"""
    if action == "role":
        if not actor.may("admin"):
            raise Forbidden(N_("Changing roles requires the role %(role)s.", role=ROLE_NAMES["admin"]))
    elif not actor.may("editor"):
        raise Forbidden(N_("Changing other users requires the role %(role)s.", role=ROLE_NAMES["editor"]))
