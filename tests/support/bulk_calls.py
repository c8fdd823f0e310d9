"""Bulk commands, and the users that they change."""

import uuid
from collections.abc import Iterable
from typing import Any, get_args

import orjson
import psycopg
import pytest

from app.auth.permissions import Actor, AuditContext, system_actor
from app.errors import DomainError
from app.http.services import services
from app.schemas import ListQuery
from app.search import text as search_text
from app.users.bulk import Action, BulkResult, BulkTarget
from tests.support.secured_app import SecuredApp

ACTIONS: tuple[Action, ...] = get_args(Action)
SYSTEM = AuditContext(system_actor("test"))


def create_users(secured_app: SecuredApp, count: int = 3, role: str = "member", **fields: Any) -> list[dict[str, Any]]:
    return [
        secured_app.create_user(role, email=f"crowd-{uuid.uuid4().hex[:8]}@example.org", **fields) for _ in range(count)
    ]


def target_of(users: Iterable[dict[str, Any]]) -> BulkTarget:
    return BulkTarget(ids=tuple(uuid.UUID(user["id"]) for user in users))


def matching(**query: Any) -> BulkTarget:
    return BulkTarget(query=ListQuery(**query))


def as_user(user: dict[str, Any]) -> AuditContext:
    return AuditContext(Actor("session", uuid.UUID(user["id"]), user["role"]), "192.0.2.7", "Console/1", "bulk-1")


def apply_bulk(
    secured_app: SecuredApp, action: Action, chosen: BulkTarget, by: dict[str, Any] | None = None, **more: Any
) -> BulkResult:
    """Run a bulk command, as the administrator unless `by` is given."""
    if action == "role":
        more = {"role": "viewer", **more}
    with secured_app.app.app_context():
        return services().bulk.apply(action, chosen, as_user(by or secured_app.admin.user), **more)


def bulk_refusal(kind: type[DomainError], secured_app: SecuredApp, *args: Any, **kwargs: Any) -> str:
    """The message of the error that a bulk command raises."""
    with pytest.raises(kind) as caught:
        apply_bulk(secured_app, *args, **kwargs)
    return str(caught.value)


def create_users_for(secured_app: SecuredApp, action: Action, count: int = 3) -> list[dict[str, Any]]:
    """Create users that `action` changes."""
    users = create_users(secured_app, count, active=action != "activate")
    if action == "restore":
        for user in users:
            secured_app.admin.delete(f"/users/{user['id']}")
    return users


def query_of(action: Action) -> BulkTarget:
    return matching(q="crowd", deleted=action == "restore")


def history_of(secured_app: SecuredApp, user: dict[str, Any]) -> list[dict[str, Any]]:
    """The history of a user, newest first."""
    return secured_app.admin.get(f"/users/{user['id']}/history").json


def all_rows(database: psycopg.Connection[Any]) -> list[Any]:
    """All rows of the tables that a bulk command may change."""
    return [
        database.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1").fetchall()  # noqa: S608 - constants
        for table in ("users", "history", "tokens")
    ]


def require_consistent(database: psycopg.Connection[Any]) -> None:
    """Check that the search vector of every user is right, and that each version has one history entry."""
    fields = "id, username, email, name, role, active, attributes::text, version, deleted_at"
    columns = f"{fields}, tsvector_to_array(search_vector)"
    for row in database.execute(f"SELECT {columns} FROM users"):  # noqa: S608 - constants
        names = ("username", "email", "name", "role", "active")
        user = {**dict(zip(names, row[1:6], strict=True)), "attributes": orjson.loads(row[6])}
        trash = [search_text.DELETED_TAG] if row[8] else []
        assert sorted(row[9]) == sorted([*search_text.lexemes(user), *trash])
        own = (
            "SELECT version FROM history WHERE user_id = %s AND action IN ('created', 'changed', 'deleted', 'restored')"
        )
        versions = [version for (version,) in database.execute(f"{own} ORDER BY id", [row[0]])]
        assert versions == list(range(1, row[7] + 1))
