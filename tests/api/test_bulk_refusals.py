"""Bulk commands change all selected users or none; and the commands that are refused."""

import uuid
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from app.errors import AlreadyTaken, Conflict, Forbidden, ValidationFailed
from app.http.services import services
from app.schemas import ListQuery
from app.users import bulk
from app.users.bulk import Action, BulkResult, BulkTarget
from tests.support.bulk_calls import (
    ACTIONS,
    SYSTEM,
    all_rows,
    apply_bulk,
    bulk_refusal,
    create_users,
    create_users_for,
    history_of,
    matching,
    target_of,
)
from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.mark.parametrize("action", ACTIONS)
def test_an_editor_changes_only_users_of_lower_roles(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    editor = secured_app.create_user("editor", username="scissors")
    below, above = create_users_for(secured_app, action, 4), create_users_for(secured_app, action, 2)
    if action == "restore":
        apply_bulk(secured_app, "restore", target_of(above))
    apply_bulk(secured_app, "role", target_of(above), role="editor")
    if action == "restore":
        apply_bulk(secured_app, "delete", target_of(above))
    before = all_rows(database)
    sentence = bulk_refusal(Forbidden, secured_app, action, target_of([*below, *above]), by=editor)
    assert all_rows(database) == before
    if action == "role":
        assert sentence == "Changing roles requires the role admin."
        return
    assert sentence.startswith("You may not change 2 of these 6 users, ")
    assert any(user["username"] in sentence for user in above)
    assert "role" in sentence.rpartition(".")[0]
    assert apply_bulk(secured_app, action, target_of(below), by=editor).changed == 4
    assert {entry["actor"] for user in below for entry in history_of(secured_app, user)[:1]} == {f"user:{editor['id']}"}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("role", ["member", "viewer"])
def test_a_user_who_may_not_change_others_changes_no_user(secured_app: SecuredApp, action: Action, role: str) -> None:
    users = create_users_for(secured_app, action)
    assert "requires the role" in bulk_refusal(
        Forbidden, secured_app, action, target_of(users), by=secured_app.create_user(role)
    )


def test_an_editor_is_refused_for_an_equal_even_without_a_change(secured_app: SecuredApp) -> None:
    """As for a patch that changes nothing."""
    editor, other = create_users(secured_app, 2, "editor")
    bulk_refusal(Forbidden, secured_app, "activate", target_of([other]), by=editor)


@pytest.mark.parametrize("action", ["deactivate", "delete", "role"])
def test_a_bulk_command_never_changes_its_actor(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users = create_users(secured_app)
    other = secured_app.create_user("admin", password=PASSWORD)
    before = all_rows(database)
    for by in (secured_app.admin.user, other):
        assert "your own user" in bulk_refusal(Conflict, secured_app, action, target_of([*users, by]), by=by)
        assert "your own user" in bulk_refusal(Conflict, secured_app, action, matching(), by=by)
    assert all_rows(database) == before
    if action == "role":
        assert apply_bulk(secured_app, "role", target_of([secured_app.admin.user, other]), role="admin") == BulkResult(
            0, 2, None
        )
    assert apply_bulk(secured_app, "activate", matching()).changed == 0


@pytest.mark.parametrize("action", ["deactivate", "delete", "role"])
def test_a_bulk_command_keeps_at_least_one_administrator(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users = [
        *create_users(secured_app),
        secured_app.create_user("admin", password=PASSWORD),
        secured_app.create_user("admin"),
    ]
    all_users = target_of([*users, secured_app.admin.user])
    before = all_rows(database)
    with secured_app.app.app_context():
        for chosen in (all_users, matching()):
            with pytest.raises(Conflict, match="administrator"):
                services().bulk.apply(action, chosen, SYSTEM, role="viewer")
        assert all_rows(database) == before
        assert services().bulk.apply(action, target_of(users), SYSTEM, role="viewer").changed == 5


def test_the_maximum_number_of_users_is_changed_in_time_and_more_are_refused(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    """With the statement timeout and the pool that are the defaults."""
    database.execute(
        "INSERT INTO users (username, username_key, name, name_key, search_vector)"
        " SELECT 'mass' || n, 'mass' || n, 'Mass', 'mass', array_to_tsvector(ARRAY['m', 'ma', 'mas', 'mass',"
        " 'mass' || n, '=role:member', '=active:true']) FROM generate_series(0, %s) AS n",
        [bulk.MAX_USERS],
    )
    before = all_rows(database)
    ids = tuple(user_id for (user_id,) in database.execute("SELECT id FROM users WHERE name = 'Mass'"))
    for chosen in (matching(q="mass"), matching(role="member"), matching(), BulkTarget(ids=ids)):
        sentence = bulk_refusal(Conflict, secured_app, "deactivate", chosen)
        assert "At most 10,000" in sentence
        assert "arrow the search" in sentence
    assert all_rows(database) == before
    secured_app.token({"id": str(ids[0]), "role": "member"})
    outcome = apply_bulk(secured_app, "delete", BulkTarget(ids=ids[:-1]), expected=10_000)
    assert (outcome.changed, outcome.unchanged) == (10_000, 0)
    assert (
        apply_bulk(secured_app, "restore", BulkTarget(deleted_at=outcome.deleted_at), expected=10_000).changed == 10_000
    )
    assert apply_bulk(secured_app, "deactivate", BulkTarget(ids=ids[1:])).changed == 10_000
    assert len(secured_app.admin.list_users(q="mass", active="true")) == 1
    assert secured_app.admin.get(f"/users/{ids[1]}").json["version"] == 4
    assert database.execute("SELECT count(*) FROM history WHERE action = 'changed'").fetchone() == (10_000,)


@pytest.mark.parametrize("how", ["ids", "query"])
def test_a_number_of_users_other_than_expected_is_refused(
    secured_app: SecuredApp, database: psycopg.Connection[Any], how: str
) -> None:
    users = create_users(secured_app)
    chosen = target_of(users) if how == "ids" else matching(q="crowd")
    secured_app.admin.delete(f"/users/{users[0]['id']}")
    before = all_rows(database)
    sentence = bulk_refusal(Conflict, secured_app, "deactivate", chosen, expected=3)
    assert "2 users now, not 3" in sentence
    assert "confirm again" in sentence
    assert all_rows(database) == before
    assert apply_bulk(secured_app, "deactivate", chosen, expected=2).changed == 2


@pytest.mark.parametrize("field", ["username", "email"])
def test_restoring_a_taken_name_is_refused_with_the_users_concerned(
    secured_app: SecuredApp, database: psycopg.Connection[Any], field: str
) -> None:
    users = create_users(secured_app)
    moment = apply_bulk(secured_app, "delete", target_of(users)).deleted_at
    other = secured_app.create_user(**{"username": "other", field: users[1][field].upper()})
    before = all_rows(database)
    for chosen in (target_of(users), matching(q="crowd", deleted=True), BulkTarget(deleted_at=moment)):
        with pytest.raises(AlreadyTaken) as caught:
            apply_bulk(secured_app, "restore", chosen)
        assert str(caught.value) == f"Another user has the {field} of '{users[1]['username']}'."
        assert [field_error.field for field_error in caught.value.field_errors] == [field]
    assert all_rows(database) == before
    secured_app.admin.delete(f"/users/{other['id']}?purge=true")
    assert apply_bulk(secured_app, "restore", BulkTarget(deleted_at=moment)).changed == 3


def test_two_deleted_users_with_one_name_are_not_both_restored(secured_app: SecuredApp) -> None:
    users = []
    for _ in range(2):
        users.append(secured_app.create_user(username="ada"))
        secured_app.admin.delete(f"/users/{users[-1]['id']}")
    assert "the username of 'ada'" in bulk_refusal(AlreadyTaken, secured_app, "restore", target_of(users))
    assert apply_bulk(secured_app, "restore", target_of(users[:1])).changed == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_a_query_selects_no_users_of_the_other_partition(secured_app: SecuredApp, action: Action) -> None:
    users = create_users_for(secured_app, action)
    assert "trash" in bulk_refusal(Conflict, secured_app, action, matching(q="crowd", deleted=action != "restore"))
    if action != "restore":
        assert "trash" in bulk_refusal(Conflict, secured_app, action, BulkTarget(deleted_at=datetime.now(UTC)))
    assert apply_bulk(secured_app, action, target_of(users)).changed == 3


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ids": (uuid.uuid4(),), "query": ListQuery()},
        {"query": ListQuery(), "deleted_at": datetime.now(UTC)},
    ],
)
def test_users_are_selected_either_by_ids_or_by_query(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed):
        BulkTarget(**given)


def test_the_role_action_requires_a_role(secured_app: SecuredApp) -> None:
    with pytest.raises(ValidationFailed):
        apply_bulk(secured_app, "role", matching(), role=None)
