"""The history records changes by SQL like changes by the service."""

# ruff: noqa: S608 - names of ours

import json
import uuid
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from app.models import USER_FIELDS
from tests.support.api_client import ApiClient
from tests.support.external_sql import (
    COLUMNS,
    changed_fields,
    history_since,
    insert_users,
    last_history_id,
    newest_entry,
    sql_actor,
)
from tests.support.secured_app import PASSWORD, SecuredApp

# Each kind of statement


def test_a_change_by_sql_is_recorded_like_a_change_by_the_service(
    api: ApiClient, analyst: psycopg.Connection[Any]
) -> None:
    user = api.create_user(username="ada", email="ada@example.org", attributes={"team": "x", "n": 1, "gone": None})
    before = api.create_user(username="bob", email="bob@example.org", attributes={"team": "x", "n": 1, "gone": None})
    new = {"name": "Ada L.", "email": None, "role": "viewer", "active": False, "attributes": {"team": "y", "n": 1.0}}
    api.put(f"/users/{before['id']}", {"username": "bob", **new})
    analyst.execute(
        "UPDATE users SET name = %s, email = NULL, email_key = NULL, role = 'viewer', active = false,"
        " attributes = %s WHERE id = %s",
        [new["name"], json.dumps(new["attributes"]), user["id"]],
    )
    entry, own = newest_entry(api, user["id"]), newest_entry(api, before["id"])
    assert entry["changes"] == [
        *[{**change, "old": str(change["old"]).replace("bob", "ada")} for change in own["changes"][:2]],
        *own["changes"][2:],
    ]
    assert [change["field"] for change in entry["changes"]][-3:] == [
        "attributes.gone",
        "attributes.n",
        "attributes.team",
    ]
    told = {name: entry[name] for name in ("version", "action", "actor", "address", "agent", "request_id")}
    nothing = dict.fromkeys(("address", "agent", "request_id"))
    assert told == {"version": 2, "action": "changed", "actor": sql_actor(analyst), **nothing}


def test_the_triggers_know_every_field(database: psycopg.Connection[Any]) -> None:
    """A field that the function lacks would be changed by SQL with an empty entry in the history."""
    (source,) = database.execute("SELECT prosrc FROM pg_proc WHERE proname = 'user_changes'").fetchone()
    assert [field.name for field in USER_FIELDS if f"new_user.{field.name}" not in source] == []


def test_attributes_are_compared_as_json(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user = api.create_user(attributes={"a": {"b": 1, "aa": [1, 2]}, "n": 1e20, "é": "x"})
    database.execute("UPDATE users SET attributes = attributes::jsonb::json, name = 'New'")
    assert changed_fields(newest_entry(api, user["id"])).keys() == {"name"}
    database.execute('UPDATE users SET attributes = \'{"a": 1e20, "é": "x", "": null}\'')
    entry = newest_entry(api, user["id"])
    assert changed_fields(entry) == {
        "attributes.": (None, None),
        "attributes.a": ({"b": 1, "aa": [1, 2]}, 1e20),
        "attributes.n": (1e20, None),
    }


@pytest.mark.parametrize("text", ["[]", "null", "3", '{"a": "\\u0000"}', '{"\\u0000": 1}', '{"n": 1e999999}'])
def test_strange_attributes_fail_no_statement(api: ApiClient, database: psycopg.Connection[Any], text: str) -> None:
    user = api.create_user(attributes={"a": 1})
    database.execute("UPDATE users SET attributes = %s", [text])
    entry = newest_entry(api, user["id"])
    assert (entry["version"], changed_fields(entry)) == (2, {"attributes.a": (1, None)})


def test_a_password_is_only_named(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user = api.create_user(password=PASSWORD)
    database.execute("UPDATE users SET password_hash = 'argon2-secret'")
    database.execute("UPDATE users SET password_hash = NULL")
    response = api.get(f"/users/{user['id']}/history")
    assert [changed_fields(entry).get("password") for entry in response.json] == [(None, None)] * 3
    assert "argon2" not in response.text
    found = database.execute("SELECT string_agg(history::text, '') FROM history").fetchone()
    assert "argon2" not in found[0]  # type: ignore[index]


def test_each_action_is_called_as_the_service_calls_it(api: ApiClient, analyst: psycopg.Connection[Any]) -> None:
    (user_id,) = insert_users(analyst, "ada")
    for statement in (
        "UPDATE users SET deleted_at = now()",
        "UPDATE users SET deleted_at = NULL",
        "UPDATE users SET session_epoch = session_epoch + 1",
        "UPDATE users SET created_at = '2026-01-31T20:30:00Z'",
        "UPDATE users SET search_vector = '''a'''",
        "DELETE FROM users",
    ):
        analyst.execute(statement.encode())
    found = api.get(f"/users/{user_id}/history").json
    actions = ["purged", "changed", "changed", "sessions_ended", "restored", "deleted", "created"]
    assert [entry["action"] for entry in found] == actions
    assert [entry["version"] for entry in found] == [7, 6, 5, 4, 3, 2, 1]
    assert {entry["actor"] for entry in found} == {sql_actor(analyst)}
    assert changed_fields(found[-1]) == {name: (None, value) for name, value in CREATED.items()}
    assert changed_fields(found[2])["created_at"][1] == "2026-01-31T20:30:00.000000Z"
    assert found[0]["changes"] == [], "of who was purged no values stay"


CREATED = {"username": "ada", "name": "ada", "role": "member", "active": True}


def test_a_patch_without_effect_is_no_change(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user = api.create_user(username="ada")
    database.execute("UPDATE users SET name = name, attributes = attributes")
    database.execute("UPDATE users SET name = 'x' WHERE false")
    database.execute("DELETE FROM users WHERE false")
    database.execute("INSERT INTO users SELECT * FROM users WHERE false")
    assert len(api.get(f"/users/{user['id']}/history").json) == 1
    assert api.get(f"/users/{user['id']}").headers["ETag"] == '"1"'


def test_a_change_of_an_id_is_recorded_for_both_ids(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user, new_id, before = api.create_user(username="ada"), str(uuid.uuid4()), last_history_id(database)
    database.execute("UPDATE users SET id = %s", [new_id])
    assert {row[:2] for row in history_since(database, entry=before)} == {(user["id"], "purged"), (new_id, "created")}
    assert changed_fields(newest_entry(api, new_id))["username"] == (None, "ada")


def test_copy_records_one_entry_for_each_user(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    ids = sorted(str(uuid.uuid4()) for _ in range(3))
    with database.cursor().copy(f"COPY users {COLUMNS} FROM STDIN") as copy:
        for user_id in ids:
            copy.write_row((user_id, user_id, user_id, "n", "n", ""))
    assert sorted(history_since(database)) == [(user_id, "created", sql_actor(database)) for user_id in ids]
    assert newest_entry(api, ids[0])["version"] == 1


def test_an_upsert_records_created_and_changed_users(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user, new_id, before = api.create_user(username="ada"), str(uuid.uuid4()), last_history_id(database)
    database.execute(
        f"INSERT INTO users {COLUMNS} VALUES (%s, 'ada', 'ada', 'New', 'new', ''), (%s, 'bob', 'bob', '', '', '')"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        [user["id"], new_id],
    )
    assert {row[:2] for row in history_since(database, entry=before)} == {(user["id"], "changed"), (new_id, "created")}
    assert changed_fields(newest_entry(api, user["id"])) == {"name": ("ada", "New")}


def test_merge_records_every_action(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    users, new_id = {name: api.create_user(username=name)["id"] for name in ("ada", "bob")}, str(uuid.uuid4())
    before = last_history_id(database)
    database.execute(
        "MERGE INTO users AS u USING (VALUES ('ada'), ('bob'), ('eve')) AS s(name) ON u.username = s.name"
        " WHEN MATCHED AND s.name = 'ada' THEN UPDATE SET name = 'New' WHEN MATCHED THEN DELETE"
        f" WHEN NOT MATCHED THEN INSERT {COLUMNS} VALUES (%s, 'eve', 'eve', 'eve', 'eve', '')",
        [new_id],
    )
    found = {row[:2] for row in history_since(database, entry=before)}
    assert found == {(users["ada"], "changed"), (users["bob"], "purged"), (new_id, "created")}


def test_the_console_names_the_role(admin: FlaskClient, database: psycopg.Connection[Any]) -> None:
    (user_id,) = database.execute("UPDATE users SET name = 'New' RETURNING id::text").fetchone() or ("",)
    shown = admin.get(f"/people/{user_id}", headers={"Accept-Language": "en"}).text
    assert "by SQL as postgres" in shown
    assert "en SQL, sous le rôle postgres" in admin.get(f"/people/{user_id}", headers={"Accept-Language": "fr"}).text


# Tokens


def test_token_changes_are_recorded_for_their_users(secured_app: SecuredApp, database: psycopg.Connection[Any]) -> None:
    ada, bob = secured_app.create_user("editor", username="ada"), secured_app.create_user("editor", username="bob")
    token, before = secured_app.token(ada), last_history_id(database)
    shown = {name: token[name] for name in ("id", "name", "role")}
    database.execute("UPDATE tokens SET last_used_at = now()")
    assert history_since(database, entry=before) == [], "to be used is no change"
    database.execute("UPDATE tokens SET role = 'viewer', last_used_at = now()")
    entry = newest_entry(secured_app.admin, ada["id"])
    expiry = {"expires_at": None}
    lowered = {"field": "token", "old": {**shown, **expiry}, "new": {**shown, **expiry, "role": "viewer"}}
    assert (entry["action"], entry["version"], entry["changes"]) == ("changed", 1, [lowered])
    shown["role"] = "viewer"
    database.execute("UPDATE tokens SET user_id = %s", [bob["id"]])
    moved = [newest_entry(secured_app.admin, user["id"]) for user in (ada, bob)]
    assert [one["action"] for one in moved] == ["token_revoked", "token_created"]
    assert [one["changes"] for one in moved] == [
        [{"field": "token", "old": shown, "new": None}],
        [{"field": "token", "old": None, "new": shown}],
    ]
    database.execute("UPDATE tokens SET expires_at = '2030-01-01T00:00:00Z'")
    assert (
        newest_entry(secured_app.admin, bob["id"])["changes"][0]["new"]["expires_at"] == "2030-01-01T00:00:00.000000Z"
    )
    database.execute("INSERT INTO tokens SELECT gen_random_uuid(), user_id, 'copy', role, '\\x00' FROM tokens")
    assert changed_fields(newest_entry(secured_app.admin, bob["id"]))["token"][1]["name"] == "copy"
    database.execute("DELETE FROM tokens WHERE name = 'copy'")
    assert changed_fields(newest_entry(secured_app.admin, bob["id"]))["token"][0]["name"] == "copy"
    everything = database.execute("SELECT string_agg(history::text, '') FROM history").fetchone()
    assert "digest" not in everything[0]  # type: ignore[index]


def test_tokens_that_go_with_their_user_are_told(secured_app: SecuredApp, database: psycopg.Connection[Any]) -> None:
    ada = secured_app.create_user("editor", username="ada")
    secured_app.token(ada)
    before = last_history_id(database)
    database.execute("DELETE FROM users WHERE id = %s", [ada["id"]])
    assert history_since(database, entry=before) == [
        (ada["id"], "purged", sql_actor(database)),
        (ada["id"], "token_revoked", sql_actor(database)),
    ]
    assert [entry["version"] for entry in secured_app.admin.get(f"/users/{ada['id']}/history").json] == [2, 2, 1, 1]


# Many


@pytest.mark.parametrize(("count", "expected"), [(1000, 1000), (1001, 1)])
def test_a_statement_of_more_than_a_thousand_rows_is_one_entry_that_stands_for_all(
    api: ApiClient, database: psycopg.Connection[Any], count: int, expected: int
) -> None:
    names = [f"u{number}" for number in range(count)]
    ids = set(insert_users(database, *names))
    made = history_since(database)
    database.execute("UPDATE users SET name = 'New'")
    database.execute("DELETE FROM users")
    found = history_since(database)
    assert len(made) == expected
    assert len(found) == 3 * expected
    assert {row[0] for row in found} == (ids if expected > 1 else {None})
    assert [row[1] for row in found[::expected]] == ["created", "changed", "purged"]
    assert api.get(f"/users/{uuid.UUID(int=0)}/history").status_code == 404


def test_a_truncate_is_one_entry_of_each_table(
    api: ApiClient, analyst: psycopg.Connection[Any], database: psycopg.Connection[Any]
) -> None:
    api.create_user()
    before = last_history_id(database)
    analyst.execute("TRUNCATE tokens")
    assert history_since(database, entry=before) == [(None, "token_revoked", sql_actor(analyst))]
    database.execute("TRUNCATE users CASCADE")
    found = history_since(database, entry=before)[1:]
    assert sorted(found) == [(None, "purged", sql_actor(database)), (None, "token_revoked", sql_actor(database))]
