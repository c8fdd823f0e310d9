"""Prepared statements write the same rows as SQLAlchemy, and nothing if they refuse."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from flask import Flask
from hypothesis import assume, given
from pydantic import ValidationError

from app.auth import passwords
from app.auth.permissions import SETUP_ACTOR, AuditContext
from app.errors import AlreadyTaken
from app.http.services import services
from app.schemas import UserDraft, UserPatch, UserReplacement
from app.users.sql import CREATE_USER_IDEMPOTENTLY, GET_USERS, WRITE_USERS
from tests.support.api_client import ApiClient
from tests.support.rows import USERS_TABLE, history_rows, insert_user, serialized_user, user_columns
from tests.support.strategies import NASTY, PATCHES, UNHURRIED, WHOLE

CALLER = AuditContext(SETUP_ACTOR, "192.0.2.7", 'Agent \\ "1" ü', "request-1")


def test_each_column_of_a_row_is_compared_here(
    database: psycopg.Connection[Any], clear_tables: Callable[[], None], app: Flask
) -> None:
    """A new column has to be added to the statements, and to the comparison."""
    clear_tables()
    with app.app_context():
        user_id = insert_user()
    compared = user_columns(database, user_id).keys() - {"has_password", "is_new"} | {
        "id",
        "password_hash",
        "created_at",
        "updated_at",
    }
    assert compared == set(USERS_TABLE.c.keys())


@UNHURRIED
@given(fields=WHOLE)
def test_a_new_user_leaves_the_same_rows_either_way(
    app: Flask, clear_tables: Callable[[], None], database: psycopg.Connection[Any], fields: dict[str, Any]
) -> None:
    require_made_alike(app, clear_tables, database, parsed(UserDraft, fields))


@pytest.mark.parametrize("kind", [*NASTY, "password"])
def test_a_new_user_of_any_kind_leaves_the_same_rows_either_way(
    app: Flask, clear_tables: Callable[[], None], database: psycopg.Connection[Any], kind: str
) -> None:
    fields = NASTY.get(kind, {"username": "ada", "role": "admin", "active": False, "password": "correct horse battery"})
    require_made_alike(app, clear_tables, database, UserDraft.model_validate(fields))


def require_made_alike(
    app: Flask, clear: Callable[[], None], database: psycopg.Connection[Any], draft: UserDraft
) -> None:
    """By WRITE_USERS, by CREATE_USER_IDEMPOTENTLY and by UserCommands.replace, which makes a row in SQLAlchemy."""
    ways: list[Callable[[], tuple[Any, uuid.UUID]]] = [
        lambda: services().users.create(draft, CALLER)[:2],
        lambda: services().users.create(draft, CALLER, "key")[:2],
        lambda: (services().users.replace(plain_id, replacement, anything, CALLER)[0], plain_id),
    ]
    plain_id, found = uuid.uuid4(), []
    replacement = UserReplacement.model_construct(**dict(draft))
    with app.app_context():
        for way in ways:
            clear()
            made, user_id = way()
            assert made.body == serialized_user(user_id)
            (kept,) = database.execute("SELECT password_hash FROM users").fetchone()
            assert passwords.verify_nullable(draft.password, kept)
            found.append((made.version, user_columns(database, user_id), history_rows(database, user_id)))
    assert found[0] == found[1] == found[2]


@UNHURRIED
@given(fields=WHOLE, change=PATCHES)
def test_a_change_leaves_the_same_rows_either_way(
    app: Flask,
    clear_tables: Callable[[], None],
    database: psycopg.Connection[Any],
    fields: dict[str, Any],
    change: dict[str, Any],
) -> None:
    require_changed_alike(app, clear_tables, database, parsed(UserDraft, fields), parsed(UserPatch, change))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "Ada"},
        {"name": None, "email": None},
        {"username": "ADA"},
        {"attributes": None},
        {"attributes": {"a": 1}},
        {"attributes": {"a": 1.0}},
        {"attributes": {"a": True}},
        {"attributes": {"a": None, "deep": {"x": None, "y": [None]}}},
        *({name: user[name] for name in ("name", "attributes") if name in user} for user in NASTY.values()),
    ],
)
def test_each_kind_of_change_leaves_the_same_rows_either_way(
    app: Flask, clear_tables: Callable[[], None], database: psycopg.Connection[Any], change: dict[str, Any]
) -> None:
    ada = {"username": "ada", "name": "Ada", "email": "ada@example.org", "role": "editor", "password": "correct horse"}
    ada["attributes"] = {"a": 1, "deep": {"x": 1}}
    draft = UserDraft.model_validate(ada)
    require_changed_alike(app, clear_tables, database, draft, UserPatch.model_validate(change))


def require_changed_alike(
    app: Flask, clear: Callable[[], None], database: psycopg.Connection[Any], draft: UserDraft, patch: UserPatch
) -> None:
    """By WRITE_USERS and by the plain way under a lock: now, and when the clock was set back."""
    found = []
    with app.app_context():
        # With a role, though the same, it is changed under a lock.
        under_lock = UserPatch.model_validate({"role": draft.role, **patch.model_dump(exclude_unset=True)})
        for given in (patch, under_lock):
            for later in (None, datetime(2999, 1, 1, tzinfo=UTC)):
                clear()
                user_id = services().users.create(draft, CALLER)[1]
                if later is not None:
                    database.execute("UPDATE users SET updated_at = %s", [later])
                made = services().users.update(user_id, given, anything, CALLER)
                assert made.body == serialized_user(user_id)
                (moved,) = database.execute("SELECT updated_at FROM users").fetchone()
                assert later is None or moved == later
                row = user_columns(database, user_id)
                # The plain way ends the sessions of who is inactive once more; they have none.
                row["session_epoch"] = row["active"] and row["session_epoch"]
                found.append((made.version, row, history_rows(database, user_id)))
    assert found[0] == found[2]
    assert found[1] == found[3]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "Ada"},
        {"name": "  Ada "},
        {"username": "ada", "email": "ada@example.org", "attributes": {"a": 1}},
        {"attributes": {}},
        {"attributes": {"gone": None}},
    ],
)
def test_a_change_without_effect_creates_no_version_and_no_history_entry(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], spied: list[str], body: dict[str, Any]
) -> None:
    response = api.post(
        "/users", {"username": "ada", "name": "Ada", "email": "ada@example.org", "attributes": {"a": 1}}
    )
    user_id = uuid.UUID(response.json["id"])
    spied.clear()
    again = api.patch(f"/users/{user_id}", body)
    assert (again.data, again.headers["ETag"]) == (response.data, '"1"')
    assert WRITE_USERS not in spied
    assert len(history_rows(database, user_id)) == 1
    with app.app_context():
        assert again.data == serialized_user(user_id)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
@pytest.mark.parametrize("taken", ["username", "email"])
def test_a_name_that_is_taken_leaves_nothing(
    api: ApiClient, database: psycopg.Connection[Any], headers: dict[str, str], taken: str
) -> None:
    api.create_user(username="ada", email="ada@example.org")
    body = {
        "username": "bob",
        "email": "bob@example.org",
        taken: {"username": "ADA", "email": "Ada@Example.org"}[taken],
    }
    response = api.post("/users", body, headers=headers)
    assert (response.status_code, response.json["errors"][0]["field"]) == (409, taken)
    other = api.create_user(username="carol")
    assert api.patch(f"/users/{other['id']}", {taken: body[taken]}).status_code == 409
    for table, count in (("users", 2), ("history", 2), ("idempotency_keys", 0)):
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)  # noqa: S608 - names of ours


def test_a_refused_identifier_is_named(app: Flask, api: ApiClient) -> None:
    api.create_user(username="ada")
    other = uuid.UUID(api.create_user(username="bob")["id"])
    ways = [
        lambda: services().users.create(UserDraft(username="Ada"), CALLER),
        lambda: services().users.update(other, UserPatch(username="Ada"), anything, CALLER),
    ]
    for way in ways:
        with app.app_context(), pytest.raises(AlreadyTaken) as refused:
            way()
        assert [field_error.field for field_error in refused.value.field_errors] == ["username"]


def test_requests_use_the_prepared_statements(api: ApiClient, spied: list[str]) -> None:
    user = api.create_user(username="ada")
    made = api.post("/users", {"username": "bob"}, headers={"Idempotency-Key": "k"}).json
    api.patch(f"/users/{user['id']}", {"name": "Ada"})
    api.get(f"/users/{made['id']}")
    found = [one for one in spied if one in (CREATE_USER_IDEMPOTENTLY, WRITE_USERS, GET_USERS)]
    assert found == [WRITE_USERS, CREATE_USER_IDEMPOTENTLY, GET_USERS, WRITE_USERS, GET_USERS]


def parsed(model: type[Any], fields: dict[str, Any]) -> Any:
    """`fields` as a request would have them; what breaks a rule is no example."""
    try:
        found = model.model_validate(fields)
    except ValidationError:
        assume(False)  # noqa: FBT003 - so Hypothesis wants it
    return found


def anything(_: int | None) -> bool:
    return True
