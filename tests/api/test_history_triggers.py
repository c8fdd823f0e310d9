"""The triggers record changes by SQL, but not changes that the service marks as internal."""

# ruff: noqa: S608 - names of ours

import uuid
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.api_client import ApiClient
from tests.support.external_sql import changed_fields, history_since, last_history_id, newest_entry, sql_actor
from tests.support.rows import history_rows

# Versions


def test_a_change_by_sql_has_a_new_version_and_tag(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user = api.create_user(username="ada")
    path = f"/users/{user['id']}"
    tag = api.get(path).headers["ETag"]
    database.execute("UPDATE users SET name = 'New'")
    database.execute("UPDATE users SET version = 1")
    row = database.execute("SELECT version, updated_at > created_at FROM users").fetchone()
    assert row == (3, True)
    assert api.patch(path, {"name": "x"}, headers={"If-Match": tag}).status_code == 412
    assert api.patch(path, {"name": "x"}, headers={"If-Match": '"3"'}).status_code == 200


def test_a_version_raised_by_sql_is_not_raised_again(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user = api.create_user(username="ada")
    database.execute("UPDATE users SET name = 'New', version = version + 1, updated_at = '2026-01-01T00:00:00Z'")
    row = database.execute("SELECT version, updated_at = '2026-01-01T00:00:00Z' FROM users").fetchone()
    assert row == (2, True)
    assert newest_entry(api, user["id"])["version"] == 2


# The mark


def test_a_mark_of_another_role_does_not_count(
    api: ApiClient, analyst: psycopg.Connection[Any], database: psycopg.Connection[Any]
) -> None:
    user = api.create_user(username="ada")
    for name in ("internal", "tells"):
        analyst.execute(f"SET fullstack_app.{name} = 'yes'")
    analyst.execute("UPDATE users SET name = 'New'")
    assert newest_entry(api, user["id"])["actor"] == sql_actor(analyst)
    assert database.execute("SELECT version FROM users").fetchone() == (2,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        analyst.execute("SELECT mark_internal_change()")
    with analyst.transaction():
        analyst.execute("SELECT set_config('fullstack_app.internal', 'yes', true)")
        analyst.execute("TRUNCATE tokens")
    assert history_since(database)[-1] == (None, "token_revoked", sql_actor(analyst))


def test_the_internal_mark_ends_with_its_transaction(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user = api.create_user(username="ada")
    before = last_history_id(database)
    with database.transaction():
        database.execute("SELECT mark_internal_change()")
        database.execute("UPDATE users SET name = 'marked'")
    assert history_since(database, entry=before) == []
    database.execute("UPDATE users SET name = 'not marked'")
    assert history_since(database, entry=before) == [(user["id"], "changed", sql_actor(database))]


def test_a_change_by_a_foreign_trigger_inside_a_statement_of_the_service_is_recorded(
    api: ApiClient, database: psycopg.Connection[Any]
) -> None:
    other = api.create_user(username="other")
    database.execute(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN UPDATE users SET name = 'meddled' WHERE username = 'other'; RETURN NULL; END $$"
    )
    try:
        database.execute("CREATE TRIGGER meddle AFTER INSERT ON users EXECUTE FUNCTION meddle()")
        user = api.create_user(username="ada")
    finally:
        database.execute("DROP FUNCTION meddle() CASCADE")
    assert changed_fields(newest_entry(api, other["id"])) == {"name": ("other", "meddled")}
    assert newest_entry(api, other["id"])["actor"] == "sql:fullstack_app"
    assert len(api.get(f"/users/{user['id']}/history").json) == 1


def test_triggers_use_the_right_objects_with_any_search_path(
    api: ApiClient, analyst: psycopg.Connection[Any], database: psycopg.Connection[Any]
) -> None:
    user, schema = api.create_user(username="ada"), f"evil_{uuid.uuid4().hex[:8]}"
    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    try:
        for table in ("history", "users", "tokens"):
            database.execute(f"CREATE TABLE {schema}.{table} (LIKE public.{table})")
        for signature in (
            "has_function_privilege(name, oid, text) RETURNS boolean",
            "has_function_privilege(name, regprocedure, text) RETURNS boolean",
            "pg_trigger_depth() RETURNS int",
            "user_changes(public.users, public.users) RETURNS json",
            "current_setting(text, boolean) RETURNS text",
        ):
            kind = signature.rpartition(" ")[2]
            database.execute(f"CREATE FUNCTION {schema}.{signature} LANGUAGE sql AS 'SELECT NULL::{kind}'")
        database.execute(f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC")
        analyst.execute(f"SET search_path = {schema}, pg_catalog, public")
        analyst.execute("UPDATE public.users SET name = 'New'")
        analyst.execute("SET search_path = ''")
        analyst.execute("UPDATE public.users SET name = 'Newer'")
        assert database.execute(f"SELECT count(*) FROM {schema}.history").fetchone() == (0,)
    finally:
        database.execute(f"DROP SCHEMA {schema} CASCADE")
    found = api.get(f"/users/{user['id']}/history").json
    assert [changed_fields(entry).get("name") for entry in found[:2]] == [("New", "Newer"), ("ada", "New")]


def test_a_foreign_trigger_cannot_forge_history_entries(
    analyst: psycopg.Connection[Any], database: psycopg.Connection[Any]
) -> None:
    name = analyst.info.user
    database.execute(f"CREATE SCHEMA AUTHORIZATION {name}")
    analyst.execute(f"CREATE TABLE {name}.users (LIKE public.users)")
    for function in ("record_external_user_change", "record_external_token_change"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute(
                f"CREATE TRIGGER forge AFTER INSERT ON {name}.users REFERENCING NEW TABLE AS new_rows"
                f" EXECUTE FUNCTION public.{function}()"
            )


def test_a_replicas_role_is_recorded_too(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    """The triggers fire always, also where session_replication_role turns off others."""
    user = api.create_user(username="ada")
    with database.transaction():
        database.execute("SET LOCAL session_replication_role = replica")
        database.execute("UPDATE users SET name = 'New'")
    assert (newest_entry(api, user["id"])["version"], len(history_rows(database, uuid.UUID(user["id"])))) == (2, 2)
