"""Columns get their new names and keep their values, upwards and downwards."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from app.config import load_settings
from app.db.migrate import prepare
from app.errors import StartError
from tests.support.flask_db import flask_db
from tests.support.service_process import Service

USER = str(uuid.uuid4())


@pytest.fixture
def old_database(new_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A database of revision 0010, with a user and history entries of its triggers."""
    flask_db(new_database, "upgrade", "0010")
    with psycopg.connect(new_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (id, username, username_key, name, name_key, role, words)"
            " VALUES (%s, 'ada', 'ada', 'Ada', 'ada', 'editor', %s)",
            [USER, "'=active' '=role:editor' 'a' 'ad' 'ada'"],
        )
        connection.execute("UPDATE users SET name = 'Ada L' WHERE id = %s", [USER])
        yield connection


def migrate(url: str, **settings: object) -> None:
    prepare(load_settings({}, database_url=url, **settings))


def rows(connection: psycopg.Connection[Any], table: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT t::text FROM {table} AS t ORDER BY id").fetchall()  # noqa: S608 - constants


def names(connection: psycopg.Connection[Any]) -> set[str]:
    """Columns and indexes of users and history."""
    found = connection.execute(
        "SELECT table_name || '.' || column_name FROM information_schema.columns"
        " WHERE table_name IN ('users', 'history')"
        " UNION ALL SELECT indexname FROM pg_indexes WHERE tablename IN ('users', 'history')"
    )
    return {name for (name,) in found}


def test_rows_keep_their_values_through_upgrade_and_downgrade(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    before = [rows(old_database, "users"), rows(old_database, "history")]
    old_names = names(old_database)
    flask_db(new_database, "upgrade", "0011")
    assert [rows(old_database, "users"), rows(old_database, "history")] == before
    assert {"users.search_vector", "history.created_at", "users_by_search_vector"} <= names(old_database)
    assert not {"users.words", "history.at", "users_by_words"} & names(old_database)
    assert not [name for name in names(old_database) if "above_member" in name]
    flask_db(new_database, "downgrade", "0010")
    assert [rows(old_database, "users"), rows(old_database, "history")] == before
    assert names(old_database) == old_names
    assert old_database.execute("SELECT gin_clean_pending_list_of_users() >= 0").fetchone() == (True,)


def test_models_and_migrations_agree(new_database: str) -> None:
    migrate(new_database)
    assert "No new upgrade operations detected" in flask_db(new_database, "check")


def test_the_service_finds_and_shows_users_of_the_previous_release(
    old_database: psycopg.Connection[Any], new_database: str, serve: Callable[..., Service]
) -> None:
    service = serve(DATABASE_URL=new_database)
    assert [user["id"] for user in service.get("/api/users?q=ada&role=editor").json] == [USER]
    entries = service.get(f"/api/users/{USER}/history").json
    assert [entry["action"] for entry in entries] == ["changed", "created"]
    times = [entry["at"] for entry in entries]
    assert times == sorted(times, reverse=True)
    old_database.execute("UPDATE users SET name = 'Ada Lovelace' WHERE id = %s", [USER])
    assert len(service.get(f"/api/users/{USER}/history").json) == 3
    # The role of the service still has its rights.
    role = "SELECT has_function_privilege('fullstack_app', 'gin_clean_pending_list_of_users()', 'EXECUTE')"
    assert old_database.execute(role).fetchone() == (True,)


def test_a_long_transaction_stops_the_start_instead_of_all_statements(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    with psycopg.connect(new_database) as reader:
        reader.execute("SELECT count(*) FROM users")
        with pytest.raises(StartError, match="lock timeout"):
            migrate(new_database, database_wait_s=2)
    assert "users.words" in names(old_database)
    migrate(new_database)
    assert "users.search_vector" in names(old_database)
