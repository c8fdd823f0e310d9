"""Bulk actions: change many users in one transaction, or none of them. Each user gets a history entry."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, update

from app.auth import admins, audit_log, tokens
from app.auth.audit_log import Entry
from app.auth.permissions import Actor, AuditContext
from app.db.expressions import is_any_of
from app.errors import N_, AlreadyTaken, Conflict, FieldError, Forbidden, ValidationFailed
from app.models import ROLES, users
from app.schemas import ListQuery
from app.search.query_builder import UserQuery
from app.search.text import field_tag
from app.types import ROLE_NAMES, Role
from app.users.rows import END_SESSIONS, NEXT_VERSION, RESTORE, SOFT_DELETE, diff, replace_tags
from app.users.writes import UserTransactions

Action = Literal["activate", "deactivate", "role", "delete", "restore"]

MAX_USERS = 10_000
"""Users of one bulk action. It takes seconds, and other writes wait for its row locks."""

_BATCH_SIZE = 500
"""Users of one statement. More could exceed the statement timeout."""
_COLUMNS = "id, username, username_key, email_key, role, active, password_hash, version, deleted_at"


@dataclass(frozen=True, slots=True)
class BulkAction:
    """entry: its name in the history. values: the columns that it sets. after: new values of `role` and `active`."""

    entry: str
    values: dict[str, Any]
    after: dict[str, Any] = field(default_factory=dict)

    def changes(self, row: Row[Any]) -> list[dict[str, Any]]:
        """The changed fields of a user, for the history."""
        return diff({name: getattr(row, name) for name in self.after}, self.after)


@dataclass(frozen=True, slots=True)
class BulkTarget:
    """The users to change, by exactly one of ids, query or deleted_at. Raises: ValidationFailed

    ids: users with these ids. query: all users that match; its page and order are ignored. deleted_at: all users that
    one bulk delete moved to the trash; this undoes it.
    """

    ids: tuple[uuid.UUID, ...] = ()
    query: ListQuery | None = None
    deleted_at: datetime | None = None

    def __post_init__(self) -> None:
        if bool(self.ids) + (self.query is not None) + (self.deleted_at is not None) != 1:
            raise ValidationFailed([FieldError("target", N_("must have exactly one of ids, query or deleted_at"))])

    @property
    def deleted(self) -> bool | None:
        """Whether the users are in the trash. None: in the partition that the action changes."""
        if self.query is not None:
            return self.query.deleted
        return None if self.ids else True


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The numbers of changed and unchanged users.

    unchanged: users that had the new values already, or do not exist. deleted_at: of a delete that changed users,
    its timestamp, which undoes it as a BulkTarget.
    """

    changed: int
    unchanged: int
    deleted_at: datetime | None


class BulkCommands:
    """Commands on many users in one transaction."""

    def __init__(self, transactions: UserTransactions) -> None:
        self._transactions = transactions

    def apply(
        self,
        action: Action,
        target: BulkTarget,
        audit_context: AuditContext,
        *,
        role: Role | None = None,
        expected: int | None = None,
    ) -> BulkResult:
        """Apply `action` to all users of `target`, or to none. Users that would not change keep their version.

        role: the new role, for the action `role`. expected: the number of users that the actor confirmed.
        Raises: ValidationFailed, Forbidden, AlreadyTaken (the username or email of a restored user is in use),
        Conflict (too many users, or not `expected`; the actor or the last administrator is one of them; they are not
        in the partition that the action changes), Unavailable
        """
        actor, bulk_action = audit_context.actor, bulk_action_of(action, role)
        _require_role(actor, action)
        _require_partition(action, target)
        changed: list[uuid.UUID] = []
        with self._transactions.unit_of_work(changed) as connection:
            rows = _lock(connection, action, target)
            _require_expected(rows, expected)
            changing = [row for row in rows if not bulk_action.after or bulk_action.changes(row)]
            _require_allowed(actor, bulk_action, rows, changing)
            admins.require_remaining_admin(connection, changing, bulk_action.after or None)
            if action != "delete":
                after = {"deleted_at": None} if action == "restore" else bulk_action.after
                admins.check_promotion(connection, actor, [row._asdict() for row in changing], after)
            if action == "restore":
                _require_free_identifiers(connection, changing)
            changed += [row.id for row in changing]
            _execute(connection, action, bulk_action, audit_context, changing)
            deleted_at = connection.scalar(select(func.now())) if action == "delete" and changing else None
        return BulkResult(len(changing), len(set(target.ids) or rows) - len(changing), deleted_at)


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


def _require_role(actor: Actor, action: Action) -> None:
    """Require the minimum role for an action. Raises: Forbidden"""
    if action == "role":
        if not actor.may("admin"):
            raise Forbidden(N_("Changing roles requires the role %(role)s.", role=ROLE_NAMES["admin"]))
    elif not actor.may("editor"):
        raise Forbidden(N_("Changing other users requires the role %(role)s.", role=ROLE_NAMES["editor"]))


def _require_partition(action: Action, target: BulkTarget) -> None:
    """Raises: Conflict"""
    if target.deleted and action != "restore":
        raise Conflict(N_("These users are in the trash. Restore them first."))
    if target.deleted is False and action == "restore":
        raise Conflict(N_("These users are not in the trash."))


def _lock(connection: Connection, action: Action, target: BulkTarget) -> Sequence[Row[Any]]:
    """Lock the users of `target` that are in the partition of the action, in the order of their ids. Raises: Conflict

    One statement, so that all transactions lock in one order and the conditions are checked again after a wait. The
    CTE and the subqueries fix the plan: the condition finds the ids, the ids find the rows to lock. The planner does
    not know the limit, or how many users were deleted a moment ago.
    """
    condition, parameters = _condition(action, target)
    rows = connection.exec_driver_sql(
        f"WITH hits AS MATERIALIZED (SELECT id FROM users WHERE {condition} LIMIT (SELECT %(most)s::int))"
        f" SELECT {_COLUMNS} FROM users WHERE id = ANY(ARRAY(SELECT id FROM hits)) AND ({condition}) IS TRUE"
        " ORDER BY id FOR UPDATE",
        {**parameters, "most": MAX_USERS + 1},
    ).all()
    if max(len(rows), len(set(target.ids))) > MAX_USERS:
        message = N_("At most %(most)s users can be changed at once. Narrow the search.", most=f"{MAX_USERS:,}")
        raise Conflict(message)
    return rows


def _condition(action: Action, target: BulkTarget) -> tuple[str, dict[str, Any]]:
    """The target as a condition in SQL, and its parameters."""
    if target.query is not None:
        query = UserQuery(target.query.model_copy(update={"cursor": None}))
        return " AND ".join([query.partition, *query.conditions]), query.parameters
    if target.deleted_at is not None:
        # Deleted users do not change, so the index of updated_at finds them.
        return "deleted_at = %(then)s AND updated_at >= %(then)s", {"then": target.deleted_at}
    partition = "deleted_at IS NOT NULL" if action == "restore" else "deleted_at IS NULL"
    return f"id = ANY(%(ids)s) AND {partition}", {"ids": list(set(target.ids))}


def _require_expected(rows: Sequence[Row[Any]], expected: int | None) -> None:
    """Raises: Conflict"""
    if expected is not None and len(rows) != expected:
        raise Conflict(
            N_(
                "The selection has %(number)s users now, not %(expected)s. Check it and confirm again.",
                number=f"{len(rows):,}",
                expected=f"{expected:,}",
            )
        )


def _require_allowed(
    actor: Actor, bulk_action: BulkAction, rows: Sequence[Row[Any]], changing: Sequence[Row[Any]]
) -> None:
    """Apply the rules of the commands on single users. Raises: Conflict, Forbidden"""
    if any(row.id == actor.user_id for row in changing):
        raise Conflict(N_("The selection contains your own user. Exclude your own user."))
    refused: list[tuple[str, Forbidden]] = []
    for row in rows:
        try:
            if bulk_action.after:
                actor.require_change(row.id, row.role, [change["field"] for change in bulk_action.changes(row)])
            else:
                actor.require_role_above(row.role)
        except Forbidden as error:
            refused.append((row.username, error))
    if refused:
        username, reason = refused[0]
        raise Forbidden(
            N_(
                "You may not change %(number)s of these %(all)s users, for example '%(username)s'. %(reason)s"
                " Filter by role to exclude them.",
                number=f"{len(refused):,}",
                all=f"{len(rows):,}",
                username=username,
                reason=reason.message,
            )
        )


def _require_free_identifiers(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    """Require that no active user has a username or email of the users to restore. Raises: AlreadyTaken, with the user

    Unique constraints reject identifiers that a concurrent transaction takes.
    """
    wanted: dict[str, Row[Any]] = {}
    for row in rows:
        for name in ("username", "email"):
            key = getattr(row, f"{name}_key")
            if key is not None and wanted.setdefault(key, row) is not row:
                raise AlreadyTaken(name, row.username)
    for name, other in (("username", "email"), ("email", "username")):
        column = users.c[f"{name}_key"]
        used = connection.scalar(select(column).where(users.c.deleted_at.is_(None), is_any_of(column, wanted)).limit(1))
        if used is not None:
            row = wanted[used]
            raise AlreadyTaken(name if getattr(row, f"{name}_key") == used else other, row.username)


def _execute(
    connection: Connection,
    action: Action,
    bulk_action: BulkAction,
    audit_context: AuditContext,
    changing: Sequence[Row[Any]],
) -> None:
    """Change the locked users, in the order of the commands on single users: the history shows the order."""
    if action == "delete":
        tokens.revoke_all(connection, {row.id: row.version for row in changing}, audit_context)
    values = {**bulk_action.values, **NEXT_VERSION}
    for start in range(0, len(changing), _BATCH_SIZE):
        rows = changing[start : start + _BATCH_SIZE]
        connection.execute(update(users).where(is_any_of(users.c.id, [row.id for row in rows])).values(values))
        entries: list[Entry] = [(row.id, row.version + 1, bulk_action.changes(row)) for row in rows]
        audit_log.record_all(connection, audit_context, bulk_action.entry, entries)
    if action == "deactivate":
        tokens.revoke_all(connection, {row.id: row.version + 1 for row in changing}, audit_context)
