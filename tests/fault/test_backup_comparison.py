"""The proof of a backup compares the restored database with one that goes on and deletes old history."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Flask

from app.config import load_settings
from app.db.migrate import prepare
from app.http.services import services_of
from embedded import Stack
from tests.support.backup_program import backup_modules
from tests.support.engines import engine_of
from tests.support.flask_db import flask_db

NEWEST = "SELECT row_to_json(h) FROM (SELECT id, created_at, action FROM history ORDER BY id DESC LIMIT 1) AS h"


@pytest.fixture
def backup(servers: Stack, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`compare` of the program of the backups, and its class of a database."""
    modules = backup_modules(monkeypatch, "errors", "programs", "verify")
    monkeypatch.setenv("PATH", f"{Path(servers.postgres.program('psql')).parent}:{os.environ['PATH']}")

    def database(url: str) -> Any:
        parts = urlsplit(url)
        login = {"PGUSER": parts.username or "", "PGPASSWORD": parts.password or ""}
        address = {"PGHOST": parts.hostname or "", "PGPORT": str(parts.port), "PGDATABASE": parts.path[1:]}
        return modules.programs.Database({**login, **address})

    return SimpleNamespace(compare=modules.verify.compare, database=database, NotProven=modules.errors.NotProven)


@pytest.fixture
def copy_of(servers: Stack, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Copy a database as it is. Returns the URL of the copy."""

    def copy(url: str) -> str:
        name = urlsplit(url).path[1:]
        with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
        request.addfinalizer(lambda: _drop(servers, f"{name}_copy"))
        return f"{url}_copy"

    return copy


def _drop(servers: Stack, name: str) -> None:
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def add_history(url: str) -> None:
    """Entries of 40 and of 5 days ago, which have no transaction of this database, and of now."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO history (user_id, version, action, changes, created_at, xid)"
            " SELECT gen_random_uuid(), 1, 'changed', '[]', now() - make_interval(days => days), '3'"
            " FROM generate_series(1, 3), unnest('{40, 5}'::int[]) AS days"
        )
        connection.execute("INSERT INTO history (user_id, version, action, changes) VALUES (NULL, 0, 'changed', '[]')")


def prune(make_app: Callable[..., Flask], url: str) -> None:
    app = make_app(database_url=url, history_days=30)
    for _ in range(2):
        services_of(app).retention.prune()
    # A database with connections can't be copied.
    engine_of(app).dispose()


@pytest.fixture
def live(new_database: str) -> str:
    prepare(load_settings({}, database_url=new_database))
    add_history(new_database)
    return new_database


def test_entries_that_were_deleted_since_the_backup_do_not_matter(
    backup: SimpleNamespace, live: str, copy_of: Callable[[str], str], make_app: Callable[..., Flask]
) -> None:
    database, restored = backup.database(live), backup.database(copy_of(live))
    newest = database.json(NEWEST)
    prune(make_app, live)
    assert database.json("SELECT count(*) FROM history") == 4
    assert backup.compare(database, restored, newest)["tables"]["history"]["rows"] == 4


def test_a_younger_entry_that_the_restored_database_lacks_is_found(
    backup: SimpleNamespace, live: str, copy_of: Callable[[str], str], make_app: Callable[..., Flask]
) -> None:
    database, restored = backup.database(live), backup.database(copy_of(live))
    prune(make_app, live)
    restored.run(
        "DELETE FROM history WHERE id = (SELECT min(id) FROM history WHERE created_at > now() - interval '9 d')"
    )
    with pytest.raises(backup.NotProven, match="The table history differs"):
        backup.compare(database, restored, database.json(NEWEST))


def test_without_retention_every_entry_counts(
    backup: SimpleNamespace, live: str, copy_of: Callable[[str], str]
) -> None:
    database, restored = backup.database(live), backup.database(copy_of(live))
    assert backup.compare(database, restored, database.json(NEWEST))["tables"]["history"]["rows"] == 7
    restored.run("DELETE FROM history WHERE id = (SELECT min(id) FROM history)")
    with pytest.raises(backup.NotProven, match="The table history differs"):
        backup.compare(database, restored, database.json(NEWEST))


def test_a_database_of_the_earlier_release_can_be_compared(
    backup: SimpleNamespace, new_database: str, copy_of: Callable[[str], str]
) -> None:
    flask_db(new_database, "upgrade", "0011")
    add_history(new_database)
    database, restored = backup.database(new_database), backup.database(copy_of(new_database))
    assert backup.compare(database, restored, database.json(NEWEST))["tables"]["history"]["rows"] == 7


def test_the_newest_entry_may_be_deleted_while_a_backup_is_restored(
    backup: SimpleNamespace, live: str, copy_of: Callable[[str], str], make_app: Callable[..., Flask]
) -> None:
    """A service without changes, whose newest entry is a sign-in of long ago."""
    database = backup.database(live)
    database.run(
        "INSERT INTO history (user_id, version, action, changes, created_at, xid)"
        " VALUES (gen_random_uuid(), 1, 'signed_in', '[]', now() - interval '31 days', '3')"
    )
    newest = database.json(NEWEST)
    prune(make_app, live)
    restored = backup.database(copy_of(live))
    assert backup.compare(database, restored, newest)["newest_history"]["action"] == "changed"
