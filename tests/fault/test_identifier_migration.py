"""The migration makes identifiers canonical, or lists collisions and changes nothing."""

# ruff: noqa: RUF001 - letters that look alike are the point

import re
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

ANNA = "anna@bücher.example"
OTHER = "anna@xn--bcher-kva.example"


@pytest.fixture
def old_database(new_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A database of revision 0004."""
    flask_db(new_database, "upgrade", "0004")
    with psycopg.connect(new_database, autocommit=True) as connection:
        yield connection


def put(
    old_database: psycopg.Connection[Any],
    username: str,
    email: str | None = None,
    *,
    trashed: bool = False,
    search_vector: str = "words",
) -> str:
    """A user as the release before wrote it. `search_vector`: the name of that column. Returns the user's id."""
    user_id = str(uuid.uuid4())
    old_database.execute(
        f"INSERT INTO users (id, username, username_key, email, email_key, name, name_key, {search_vector}, deleted_at)"  # noqa: S608 - a constant
        " VALUES (%s, %s, %s, %s, %s, '', '', '', CASE WHEN %s THEN now() END)",
        [user_id, username, username.casefold(), email, email and email.casefold(), trashed],
    )
    return user_id


def migrate(url: str) -> None:
    prepare(load_settings({}, database_url=url))


def rows(old_database: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return old_database.execute("SELECT users::text FROM users ORDER BY id").fetchall()


def keys(old_database: psycopg.Connection[Any], user_id: str) -> tuple[str, str | None]:
    (found,) = old_database.execute("SELECT username_key, email_key FROM users WHERE id = %s", [user_id]).fetchall()
    return found


def test_identifiers_of_earlier_releases_become_canonical(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    plain = put(old_database, "Ada", "ADA@example.org")
    own = put(old_database, ANNA, ANNA)
    trashed = put(old_database, "ﬁona", OTHER, trashed=True)
    # Each gets what the one before had: by case folding ß is ss.
    chain = [put(old_database, name, name) for name in ("leni@straße.example", "leni@ｓtrasse.example")]
    migrate(new_database)
    assert keys(old_database, plain) == ("ada", "ada@example.org")
    assert keys(old_database, own) == (OTHER, OTHER)
    assert keys(old_database, trashed) == ("fiona", OTHER)
    assert [keys(old_database, user)[0] for user in chain] == ["leni@xn--strae-oqa.example", "leni@strasse.example"]
    with pytest.raises(psycopg.errors.UniqueViolation):
        put(old_database, OTHER, search_vector="search_vector")
    with pytest.raises(psycopg.errors.UniqueViolation):
        old_database.execute("UPDATE users SET deleted_at = NULL WHERE id = %s", [trashed])
    assert put(old_database, "ada@example.com", "ada@example.net", search_vector="search_vector")


def test_all_collisions_are_listed_and_no_row_is_changed(
    old_database: psycopg.Connection[Any], new_database: str, serve: Callable[..., Service]
) -> None:
    same = [
        put(old_database, "anna", ANNA),
        put(old_database, "anne", OTHER),
        put(old_database, "anja", "anna@bücher。example"),
    ]
    forms = [put(old_database, "ada１"), put(old_database, "ada1")]
    across = [
        put(old_database, "boss", "boss@corp.example"),
        put(old_database, "boss@corp.example", "eve@corp.example"),
    ]
    put(old_database, "fıona", ANNA, trashed=True)
    put(old_database, "alone", "alone@corp.example")
    before = rows(old_database)
    with pytest.raises(StartError) as caught:
        migrate(new_database)
    message = str(caught.value)
    listed = [re.findall(r"([0-9a-f-]{36}) \((\w+)\)", line) for line in message.splitlines()]
    groups = [sorted(dict(group)) for group in listed if group]
    assert sorted(groups) == sorted(sorted(group) for group in (same, forms, across))
    named = {user: field for group in listed for user, field in group}
    assert [named[user] for user in across] == ["email", "username"]
    assert "Nothing was changed" in message
    assert "anna" not in message
    assert rows(old_database) == before
    assert old_database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)
    # As the message says: all but one of each line.
    for user in (*same[1:], forms[0], across[1]):
        old_database.execute("DELETE FROM users WHERE id = %s", [user])
    migrate(new_database)
    assert serve(DATABASE_URL=new_database).get("/api/health/ready").status == 200


def test_the_start_reports_collisions_and_ends(
    old_database: psycopg.Connection[Any], new_database: str, serve: Callable[..., Service]
) -> None:
    users = [put(old_database, "anna", ANNA), put(old_database, "anne", OTHER)]
    service = serve(DATABASE_URL=new_database, ready=False)
    assert service.process.wait(20) == 1
    (refused,) = [event for event in service.events if event["event"] == "start_refused"]
    assert all(user in refused["cause"] for user in users)
    assert "Traceback" not in service.text


def test_users_of_several_batches_are_migrated_up_and_down(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    old_database.execute(
        "INSERT INTO users (username, username_key, email, email_key, name, name_key, words)"
        " SELECT u, u, e, e, '', '', '' FROM (SELECT 'user' || n AS u, 'user' || n || '@bücher.example' AS e"
        " FROM generate_series(1, 25000) AS n) AS made"
    )
    before = rows(old_database)
    migrate(new_database)
    canonical = "SELECT count(*) FROM users WHERE email_key LIKE '%@xn--bcher-kva.example'"
    assert old_database.execute(canonical).fetchone() == (25_000,)
    flask_db(new_database, "downgrade", "0004")
    assert rows(old_database) == before
    assert old_database.execute("SELECT to_regclass('identifiers')").fetchone() == (None,)
