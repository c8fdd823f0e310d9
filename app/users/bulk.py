"""Many users at once: one transaction, done whole or refused whole, that owes each what a single command owes it."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, update

from app.auth import admins, audit_log, tokens
from app.auth.audit_log import AuditContext, Entry
from app.auth.permissions import Actor
from app.db.expressions import is_any_of
from app.errors import N_, AlreadyTaken, Conflict, FieldError, Forbidden, ValidationFailed
from app.models import ROLES, users
from app.schemas import ListQuery
from app.search import text as search_text
from app.search.query_builder import UserQuery
from app.types import ROLE_NAMES, Role
from app.users import history
from app.users.columns import ENDED, MOVED, marked, restored, trashed
from app.users.unit_of_work import UnitOfWork, UserTransactions

MOST = 10_000
"""Users that are changed at once, at the most: it takes seconds, and others wait for their rows as long."""

Action = Literal["activate", "deactivate", "role", "delete", "restore"]

_BATCH = 500
"""Users in one statement, so that none comes near the statement timeout."""
_COLUMNS = "id, username, username_key, email_key, role, active, password_hash, version, deleted_at"


@dataclass(frozen=True, slots=True)
class BulkTarget:
    """Who is to be changed, by exactly one of three. Raises: ValidationFailed

    ids: these. query: all that fit, whatever its page and order. deleted_at: all that one bulk delete put into
    the trash, for its undo.
    """

    ids: tuple[uuid.UUID, ...] = ()
    query: ListQuery | None = None
    deleted_at: datetime | None = None

    def __post_init__(self) -> None:
        if bool(self.ids) + (self.query is not None) + (self.deleted_at is not None) != 1:
            raise ValidationFailed([FieldError("chosen", N_("must be ids, or a query, or when they were deleted"))])

    @property
    def trashed(self) -> bool | None:
        """Whether they are sought in the trash; None: wherever the action takes them from."""
        return self.query.deleted if self.query is not None else True if self.deleted_at is not None else None


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of the chosen.

    unchanged: they were so already, or were not there any more. deleted_at: of a delete that found somebody, the
    moment that its undo takes.
    """

    changed: int
    unchanged: int
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class _BulkAction:
    """An action: its name in the history, what it sets, and what `role` and `active` are afterwards."""

    entry: str
    sets: dict[str, Any]
    after: dict[str, Any] = field(default_factory=dict)

    def require_allowed(self, actor: Actor, row: Row[Any]) -> None:
        """Ask the actor as the single command would. Raises: Forbidden"""
        if self.after:
            actor.require_change(row.id, row.role, [change["field"] for change in self.changes(row)])
        else:
            actor.require_role_above(row.role)

    def changes(self, row: Row[Any]) -> list[dict[str, Any]]:
        """What the history says of the user in `row`."""
        return history.differences({name: getattr(row, name) for name in self.after}, self.after)


class BulkCommands:
    """Commands on many users in one transaction."""

    def __init__(self, transactions: UserTransactions) -> None:
        self._transactions = transactions

    def apply(
        self,
        action: Action,
        chosen: BulkTarget,
        audit_context: AuditContext,
        *,
        role: Role | None = None,
        expected: int | None = None,
    ) -> BulkResult:
        """Do `action` to all chosen: to none of them when one may not be touched. `role`: the one that they get.

        Who is so already gets no new version. `expected`: how many the caller was told that they are.

        Raises: ValidationFailed, Forbidden, AlreadyTaken (a username or email of who is restored is used now),
        Unavailable, Conflict (they are too many, or others than expected; one is the caller, or the last administrator;
        restoring who is not in the trash, anything else with who is)
        """
        deed = _bulk_action(action, role)
        _require_rank(audit_context.actor, action)
        _require_half(action, chosen)
        with self._transactions.unit_of_work() as work:
            rows = _locked(work.connection, action, chosen)
            _require_number(rows, expected)
            due = [row for row in rows if not deed.after or deed.changes(row)]
            _require_allowed(audit_context.actor, deed, rows, due)
            admins.require_remaining_admin(work.connection, due, deed.after or None)
            after = {"deleted_at": None} if action == "restore" else deed.after
            if action != "delete":
                admins.check_promotion(work.connection, audit_context.actor, [row._asdict() for row in due], after)
            if action == "restore":
                _require_free(work.connection, due)
            _carry_out(work, action, deed, audit_context, due)
            moment = work.connection.scalar(select(func.now())) if action == "delete" and due else None
        return BulkResult(len(due), len(set(chosen.ids) or rows) - len(due), moment)


def _bulk_action(action: Action, role: Role | None) -> _BulkAction:
    """Raises: ValidationFailed"""
    if action == "delete":
        return _BulkAction("deleted", {**trashed(), **ENDED})
    if action == "restore":
        return _BulkAction("restored", restored())
    if action == "role":
        if role is None:
            raise ValidationFailed([FieldError("role", N_("must be given"))])
        marks = marked(map(search_text.role_tag, ROLES), [search_text.role_tag(role)])
        return _BulkAction("changed", {"role": role, "search_vector": marks}, {"role": role})
    active = action == "activate"
    marks = marked([search_text.active_tag(not active)], [search_text.active_tag(active)])
    sets = {"active": active, "search_vector": marks, **({} if active else ENDED)}
    return _BulkAction("changed", sets, {"active": active})


def _require_rank(actor: Actor, action: Action) -> None:
    """Raises: Forbidden"""
    least: Role = "admin" if action == "role" else "editor"
    if actor.may(least):
        return
    if action == "role":
        raise Forbidden(N_("Giving roles needs the role %(role)s.", role=ROLE_NAMES[least]))
    raise Forbidden(N_("Changing others needs the role %(role)s.", role=ROLE_NAMES[least]))


def _require_half(action: Action, chosen: BulkTarget) -> None:
    """Raises: Conflict"""
    if chosen.trashed and action != "restore":
        raise Conflict(N_("These users are in the trash. Restore them first."))
    if chosen.trashed is False and action == "restore":
        raise Conflict(N_("These users are not in the trash."))


def _locked(connection: Connection, action: Action, chosen: BulkTarget) -> Sequence[Row[Any]]:
    """The chosen who are where the action takes them from, locked in the order of their ids. Raises: Conflict

    One statement, so that all wait in one order, and whoever was changed meanwhile is taken as they are now,
    if they still fit. The planner knows neither the limit, as in a list, nor who was deleted a moment ago, so
    it is left no choice: rows are found by what they fit, then locked by their ids.
    """
    fits, parameters = _fitting(action, chosen)
    rows = connection.exec_driver_sql(
        f"WITH hits AS MATERIALIZED (SELECT id FROM users WHERE {fits} LIMIT (SELECT %(most)s::int))"
        f" SELECT {_COLUMNS} FROM users WHERE id = ANY(ARRAY(SELECT id FROM hits)) AND ({fits}) IS TRUE"
        " ORDER BY id FOR UPDATE",
        {**parameters, "most": MOST + 1},
    ).all()
    if max(len(rows), len(set(chosen.ids))) > MOST:
        raise Conflict(
            N_(
                "These are more than %(most)s users, and no more are changed at once. Narrow the search.",
                most=f"{MOST:,}",
            )
        )
    return rows


def _fitting(action: Action, chosen: BulkTarget) -> tuple[str, dict[str, Any]]:
    """The chosen as a condition in SQL, and its parameters."""
    if chosen.query is not None:
        query = UserQuery(chosen.query.model_copy(update={"cursor": None}))
        return query.where(query.conditions), query.parameters
    if chosen.deleted_at is not None:
        # Nobody changes in the trash, so the index of last changes leads there.
        return "deleted_at = %(then)s AND updated_at >= %(then)s", {"then": chosen.deleted_at}
    half = "deleted_at IS NOT NULL" if action == "restore" else "deleted_at IS NULL"
    return f"id = ANY(%(ids)s) AND {half}", {"ids": list(set(chosen.ids))}


def _require_number(rows: Sequence[Row[Any]], expected: int | None) -> None:
    """Raises: Conflict"""
    if expected is not None and len(rows) != expected:
        raise Conflict(
            N_(
                "The number of users is %(number)s now, not %(expected)s. Look again, then decide.",
                number=f"{len(rows):,}",
                expected=f"{expected:,}",
            )
        )


def _require_allowed(actor: Actor, deed: _BulkAction, rows: Sequence[Row[Any]], due: Sequence[Row[Any]]) -> None:
    """Raises: Conflict, Forbidden"""
    if any(row.id == actor.user_id for row in due):
        raise Conflict(N_("You are one of these users yourself. Leave yourself out."))
    refused: list[tuple[str, Forbidden]] = []
    for row in rows:
        try:
            deed.require_allowed(actor, row)
        except Forbidden as error:
            refused.append((row.username, error))
    if refused:
        username, reason = refused[0]
        raise Forbidden(
            N_(
                "%(number)s of these %(all)s users may not be touched, '%(username)s' for one. %(reason)s"
                " Filtering by role leaves them out.",
                number=f"{len(refused):,}",
                all=f"{len(rows):,}",
                username=username,
                reason=reason.message,
            )
        )


def _require_free(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    """Identifiers that another writer takes meanwhile are left to the constraints.

    Raises: AlreadyTaken, saying whose
    """
    wanted: dict[str, Row[Any]] = {}
    for row in rows:
        for name, key in _identifiers(row).items():
            if wanted.setdefault(key, row) is not row:
                raise AlreadyTaken(name, row.username)
    for theirs in ("username", "email"):
        column = users.c[f"{theirs}_key"]
        used = connection.scalar(select(column).where(users.c.deleted_at.is_(None), is_any_of(column, wanted)).limit(1))
        if used is not None:
            own = [name for name, key in _identifiers(wanted[used]).items() if key == used]
            raise AlreadyTaken(theirs if theirs in own else own[0], wanted[used].username)


def _identifiers(row: Row[Any]) -> dict[str, str]:
    """The canonical forms of a user's username and email, by field."""
    keys = {"username": row.username_key, "email": row.email_key}
    return {name: key for name, key in keys.items() if key is not None}


def _carry_out(
    work: UnitOfWork, action: Action, deed: _BulkAction, audit_context: AuditContext, due: Sequence[Row[Any]]
) -> None:
    """In the order of the single commands, for the history shows it."""
    work.add_invalidation(row.id for row in due)
    if action == "delete":
        tokens.revoke_all(work.connection, due, audit_context)
    for rows in _batches(due):
        statement = update(users).where(is_any_of(users.c.id, [row.id for row in rows])).values({**deed.sets, **MOVED})
        work.connection.execute(statement)
        entries: list[Entry] = [(row.id, row.version + 1, deed.changes(row)) for row in rows]
        audit_log.record_all(work.connection, audit_context, deed.entry, entries)
    if action == "deactivate":
        tokens.revoke_all(work.connection, due, audit_context)


def _batches(rows: Sequence[Row[Any]]) -> Iterator[Sequence[Row[Any]]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
