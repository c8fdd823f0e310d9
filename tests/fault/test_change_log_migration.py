"""Migration of the history to the change log. Its index is built concurrently, and must be valid."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from app.config import load_settings
from app.db.migrate import prepare
from app.errors import StartError
from tests.support.flask_db import flask_db
from tests.support.service_process import Service
from tests.support.waiting import wait_until

FUTURE = "(pg_current_xact_id()::text::bigint + 1000000)::text::xid8"
BUILDING = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^CREATE INDEX CONCURRENTLY history_by_xid'"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_try_advisory_lock|^ROLLBACK'"
ENTRY = "INSERT INTO history (user_id, version, action, changes"


@pytest.fixture
def old_database(new_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A database of revision 0007, with some history."""
    flask_db(new_database, "upgrade", "0007")
    with psycopg.connect(new_database, autocommit=True) as connection:
        connection.execute(
            f"{ENTRY}) SELECT gen_random_uuid(), 1, 'created', '[]' FROM generate_series(1, 3)"  # noqa: S608
        )
        yield connection


def migrate(url: str) -> None:
    prepare(load_settings({}, database_url=url))


def xids(connection: psycopg.Connection[Any]) -> list[str]:
    return [xid for (xid,) in connection.execute("SELECT xid::text FROM history ORDER BY id").fetchall()]


def one(connection: psycopg.Connection[Any], statement: str) -> Any:
    (found,) = connection.execute(statement.encode()).fetchone() or (None,)
    return found


def test_old_rows_get_a_default_without_a_rewrite_of_the_table(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    file = one(old_database, "SELECT pg_relation_filenode('history')")
    migrate(new_database)
    assert one(old_database, "SELECT pg_relation_filenode('history')") == file
    assert xids(old_database) == ["3", "3", "3"]
    with old_database.transaction():
        own = one(old_database, "SELECT pg_current_xact_id()::text")
        old_database.execute(f"{ENTRY}) VALUES (%s, 1, 'changed', '[]')", [uuid.uuid4()])
    assert xids(old_database)[-1] == own
    assert one(old_database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'history_by_xid'::regclass")


def test_a_downgrade_restores_the_previous_schema(old_database: psycopg.Connection[Any], new_database: str) -> None:
    migrate(new_database)
    old_database.execute("TRUNCATE users CASCADE")
    assert one(old_database, "SELECT count(*) FROM history WHERE user_id IS NULL") == 2
    flask_db(new_database, "downgrade", "0007")
    assert one(old_database, "SELECT count(*) FROM history") == 3
    old_database.execute("DELETE FROM users")
    functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname ~ %s"
    assert old_database.execute(functions, ["external|internal|raise_version|user_changes|token_json"]).fetchone() == (
        0,
    )
    migrate(new_database)


def test_processes_that_wait_to_migrate_do_not_block_the_index_build(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    """The build waits for all transactions, so they may have none."""
    flask_db(new_database, "upgrade", "0008")
    with ThreadPoolExecutor(2) as pool, psycopg.connect(new_database) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM history")
        begun = [pool.submit(flask_db, new_database, "upgrade") for _ in range(2)]
        wait_until(lambda: one(old_database, BUILDING) and one(old_database, WAITING), seconds=60)
        # SQL of others goes on meanwhile.
        old_database.execute("DELETE FROM users")
        reader.rollback()
        for future in begun:
            future.result()
    assert one(old_database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'history_by_xid'::regclass")


def test_an_invalid_index_of_an_interrupted_build_is_rebuilt(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    flask_db(new_database, "upgrade", "0008")
    _invalidate(old_database)
    migrate(new_database)
    assert one(old_database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'history_by_xid'::regclass")


@pytest.mark.parametrize("fault", ["invalid", "missing"])
def test_a_start_without_a_valid_index_is_refused_and_says_what_to_do(
    old_database: psycopg.Connection[Any], new_database: str, serve: Callable[..., Service], fault: str
) -> None:
    migrate(new_database)
    if fault == "invalid":
        old_database.execute("DROP INDEX history_by_xid")
        _invalidate(old_database)
    else:
        old_database.execute("DROP INDEX history_by_xid")
    with pytest.raises(StartError) as caught:
        migrate(new_database)
    service = serve(DATABASE_URL=new_database, ready=False)
    assert service.process.wait(20) == 1
    assert "history_by_xid" in service.text
    advice = str(caught.value).partition("start again: ")[2]
    for statement in advice.rstrip(";").split(";"):
        old_database.execute(statement.encode())
    migrate(new_database)


def _invalidate(connection: psycopg.Connection[Any]) -> None:
    """What is left of a build that was interrupted."""
    connection.execute("CREATE INDEX history_by_xid ON history (xid) WHERE xid > '3'")
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'history_by_xid'::regclass")


def test_xids_of_another_cluster_are_reset_by_a_command_and_not_by_a_start(
    old_database: psycopg.Connection[Any], new_database: str
) -> None:
    migrate(new_database)
    old_database.execute(
        f"{ENTRY}, xid) SELECT gen_random_uuid(), 1, 'created', '[]', {FUTURE} FROM generate_series(1, 20050)"  # noqa: S608
    )
    old_database.execute(f"{ENTRY}) VALUES (%s, 1, 'created', '[]')", [uuid.uuid4()])
    kept = xids(old_database)[-1]
    migrate(new_database)
    assert len(set(xids(old_database))) == 3
    assert "20050" in flask_db(new_database, "upgrade")
    assert set(xids(old_database)) == {"3", kept}
