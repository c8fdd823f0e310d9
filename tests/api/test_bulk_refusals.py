"""Many users at once: whole or not at all, and what is refused."""

import uuid
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from app.errors import AlreadyTaken, Conflict, Forbidden, ValidationFailed
from app.http.services import services
from app.schemas import ListQuery
from app.users import bulk
from app.users.bulk import BulkResult, BulkTarget
from app.users.bulk_actions import Action
from tests.support.bulk_calls import ACTIONS, SYSTEM, all_like, crowd, do, entries, everything, prepared, refused, these
from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.mark.parametrize("action", ACTIONS)
def test_an_editor_changes_only_who_is_below(
    house: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    editor = house.make("editor", username="scissors")
    below, above = prepared(house, action, 4), prepared(house, action, 2)
    if action == "restore":
        do(house, "restore", these(above))
    do(house, "role", these(above), role="editor")
    if action == "restore":
        do(house, "delete", these(above))
    before = everything(database)
    sentence = refused(Forbidden, house, action, these([*below, *above]), by=editor)
    assert everything(database) == before
    if action == "role":
        assert sentence == "Changing roles requires the role admin."
        return
    assert sentence.startswith("You may not change 2 of these 6 users, ")
    assert any(user["username"] in sentence for user in above)
    assert "role" in sentence.rpartition(".")[0]
    assert do(house, action, these(below), by=editor).changed == 4
    assert {entry["actor"] for user in below for entry in entries(house, user)[:1]} == {f"user:{editor['id']}"}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("role", ["member", "viewer"])
def test_who_may_not_change_others_changes_nobody(house: SecuredApp, action: Action, role: str) -> None:
    users = prepared(house, action)
    assert "requires the role" in refused(Forbidden, house, action, these(users), by=house.make(role))


def test_an_editor_may_not_touch_an_equal_who_is_so_already(house: SecuredApp) -> None:
    """As with a patch that changes nothing."""
    editor, other = crowd(house, 2, "editor")
    refused(Forbidden, house, "activate", these([other]), by=editor)


@pytest.mark.parametrize("action", ["deactivate", "delete", "role"])
def test_who_acts_is_never_among_them(house: SecuredApp, database: psycopg.Connection[Any], action: Action) -> None:
    users = crowd(house)
    other = house.make("admin", password=PASSWORD)
    before = everything(database)
    for by in (house.admin.user, other):
        assert "your own user" in refused(Conflict, house, action, these([*users, by]), by=by)
        assert "your own user" in refused(Conflict, house, action, all_like(), by=by)
    assert everything(database) == before
    if action == "role":
        assert do(house, "role", these([house.admin.user, other]), role="admin") == BulkResult(0, 2, None)
    assert do(house, "activate", all_like()).changed == 0


@pytest.mark.parametrize("action", ["deactivate", "delete", "role"])
def test_the_last_administrators_are_not_taken_away(
    house: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users = [*crowd(house), house.make("admin", password=PASSWORD), house.make("admin")]
    everybody = these([*users, house.admin.user])
    before = everything(database)
    with house.app.app_context():
        for chosen in (everybody, all_like()):
            with pytest.raises(Conflict, match="administrator"):
                services().bulk.apply(action, chosen, SYSTEM, role="viewer")
        assert everything(database) == before
        assert services().bulk.apply(action, these(users), SYSTEM, role="viewer").changed == 5


def test_more_than_the_most_are_refused_and_the_most_are_changed_in_time(
    house: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    """With the statement timeout and the pool that are the defaults."""
    database.execute(
        "INSERT INTO users (username, username_key, name, name_key, search_vector)"
        " SELECT 'mass' || n, 'mass' || n, 'Mass', 'mass', array_to_tsvector(ARRAY['m', 'ma', 'mas', 'mass',"
        " 'mass' || n, '=role:member', '=active:true']) FROM generate_series(0, %s) AS n",
        [bulk.MAX_USERS],
    )
    before = everything(database)
    ids = tuple(user_id for (user_id,) in database.execute("SELECT id FROM users WHERE name = 'Mass'"))
    for chosen in (all_like(q="mass"), all_like(role="member"), all_like(), BulkTarget(ids=ids)):
        sentence = refused(Conflict, house, "deactivate", chosen)
        assert "At most 10,000" in sentence
        assert "arrow the search" in sentence
    assert everything(database) == before
    house.token({"id": str(ids[0]), "role": "member"})
    outcome = do(house, "delete", BulkTarget(ids=ids[:-1]), expected=10_000)
    assert (outcome.changed, outcome.unchanged) == (10_000, 0)
    assert do(house, "restore", BulkTarget(deleted_at=outcome.deleted_at), expected=10_000).changed == 10_000
    assert do(house, "deactivate", BulkTarget(ids=ids[1:])).changed == 10_000
    assert len(house.admin.listed(q="mass", active="true")) == 1
    assert house.admin.get(f"/users/{ids[1]}").json["version"] == 4
    assert database.execute("SELECT count(*) FROM history WHERE action = 'changed'").fetchone() == (10_000,)


@pytest.mark.parametrize("how", ["ids", "query"])
def test_another_number_than_expected_is_refused(
    house: SecuredApp, database: psycopg.Connection[Any], how: str
) -> None:
    users = crowd(house)
    chosen = these(users) if how == "ids" else all_like(q="crowd")
    house.admin.delete(f"/users/{users[0]['id']}")
    before = everything(database)
    sentence = refused(Conflict, house, "deactivate", chosen, expected=3)
    assert "2 users now, not 3" in sentence
    assert "confirm again" in sentence
    assert everything(database) == before
    assert do(house, "deactivate", chosen, expected=2).changed == 2


@pytest.mark.parametrize("field", ["username", "email"])
def test_restoring_a_name_that_is_used_now_is_refused_and_says_whose(
    house: SecuredApp, database: psycopg.Connection[Any], field: str
) -> None:
    users = crowd(house)
    moment = do(house, "delete", these(users)).deleted_at
    other = house.make(**{"username": "other", field: users[1][field].upper()})
    before = everything(database)
    for chosen in (these(users), all_like(q="crowd", deleted=True), BulkTarget(deleted_at=moment)):
        with pytest.raises(AlreadyTaken) as caught:
            do(house, "restore", chosen)
        assert str(caught.value) == f"Another user has the {field} of '{users[1]['username']}'."
        assert [field_error.field for field_error in caught.value.field_errors] == [field]
    assert everything(database) == before
    house.admin.delete(f"/users/{other['id']}?purge=true")
    assert do(house, "restore", BulkTarget(deleted_at=moment)).changed == 3


def test_two_in_the_trash_who_share_a_name_are_not_restored_both(house: SecuredApp) -> None:
    users = []
    for _ in range(2):
        users.append(house.make(username="ada"))
        house.admin.delete(f"/users/{users[-1]['id']}")
    assert "the username of 'ada'" in refused(AlreadyTaken, house, "restore", these(users))
    assert do(house, "restore", these(users[:1])).changed == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_who_lies_in_the_other_half_is_not_chosen_by_a_query(house: SecuredApp, action: Action) -> None:
    users = prepared(house, action)
    assert "trash" in refused(Conflict, house, action, all_like(q="crowd", deleted=action != "restore"))
    if action != "restore":
        assert "trash" in refused(Conflict, house, action, BulkTarget(deleted_at=datetime.now(UTC)))
    assert do(house, action, these(users)).changed == 3


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ids": (uuid.uuid4(),), "query": ListQuery()},
        {"query": ListQuery(), "deleted_at": datetime.now(UTC)},
    ],
)
def test_users_are_chosen_in_exactly_one_way(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed):
        BulkTarget(**given)


def test_a_role_has_to_be_given(house: SecuredApp) -> None:
    with pytest.raises(ValidationFailed):
        do(house, "role", all_like(), role=None)
