"""HISTORY_DAYS and TRASH_DAYS: what is old is deleted, and nothing else."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.http.services import services_of
from tests.support.api_client import ApiClient
from tests.support.empty_tables import INTERNAL
from tests.support.secured_app import PASSWORD, SecuredApp
from tests.support.waiting import wait_until

HISTORY_DAYS, TRASH_DAYS = 30, 10


@pytest.fixture(scope="module")
def pruning_app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(history_days=HISTORY_DAYS, trash_days=TRASH_DAYS, log_level="info")


@pytest.fixture
def pruned(pruning_app: Flask, api: ApiClient) -> ApiClient:  # noqa: ARG001 - on empty tables
    """A client of an application with both settings, in setup mode."""
    services_of(pruning_app).state.is_secured = False
    return ApiClient(pruning_app)


@pytest.fixture
def prune(pruning_app: Flask) -> Callable[[], None]:
    """Run the retention, with the pause that lets change pollers read all entries."""

    def run() -> None:
        for _ in range(2):
            services_of(pruning_app).retention.prune()

    return run


def age(connection: psycopg.Connection[Any], days: float, entries: str = "true") -> None:
    connection.execute(
        f"UPDATE history SET created_at = created_at - make_interval(secs => %s) WHERE {entries}",  # noqa: S608
        [days * 86400],
    )


def age_trash(database: psycopg.Connection[Any], user_id: str, days: float) -> None:
    """Let a user have been in the trash for days, without an entry in the history."""
    with psycopg.connect(database.info.dsn, password=database.info.password, options=INTERNAL) as internal:
        internal.execute(
            "UPDATE users SET deleted_at = deleted_at - make_interval(secs => %(s)s),"
            " updated_at = updated_at - make_interval(secs => %(s)s), version = version + 1 WHERE id = %(id)s",
            {"s": days * 86400, "id": user_id},
        )


@contextmanager
def failing(database: psycopg.Connection[Any], event: str, statement: str) -> Iterator[None]:
    """Inside the block, run a statement of PL/pgSQL before an event, for example `INSERT ON retention`."""
    table = event.rpartition(" ")[2]
    database.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        f" $$ BEGIN {statement}; RETURN NEW; END $$"
    )
    database.execute(f"CREATE TRIGGER failing BEFORE {event} FOR EACH ROW EXECUTE FUNCTION fail()")
    try:
        yield
    finally:
        database.execute(f"DROP TRIGGER failing ON {table}; DROP FUNCTION fail()")


def actions(api: ApiClient, user_id: str) -> list[str]:
    return [entry["action"] for entry in api.get(f"/users/{user_id}/history").json]


def test_entries_older_than_history_days_are_deleted(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    user = pruned.create_user()
    for name in ("Ada", "Bea"):
        pruned.patch(f"/users/{user['id']}", {"name": name})
    age(database, HISTORY_DAYS + 0.1, "version < 3")
    age(database, HISTORY_DAYS - 0.1, "version = 3")
    prune()
    assert actions(pruned, user["id"]) == ["changed"]
    assert pruned.get(f"/users/{user['id']}").json["name"] == "Bea"


def test_by_default_everything_is_kept(app: Flask, api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user, gone = api.create_user(), api.create_user()
    api.delete(f"/users/{gone['id']}")
    age(database, 4000)
    age_trash(database, gone["id"], 4000)
    for _ in range(2):
        services_of(app).retention.prune()
    assert actions(api, user["id"]) == ["created"]
    assert [found["id"] for found in api.list_users(deleted="true")] == [gone["id"]]


def test_thousands_of_old_entries_are_deleted_in_steps(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    user = pruned.create_user()
    database.execute(
        "INSERT INTO history (user_id, version, action, changes, created_at)"
        " SELECT %s, 1, 'changed', '[]', now() - interval '31 days' FROM generate_series(1, 1700)",
        [user["id"]],
    )
    pruned.patch(f"/users/{user['id']}", {"name": "Ada"})
    prune()
    assert actions(pruned, user["id"]) == ["changed", "created"]
    assert database.execute("SELECT kind, deleted FROM retention").fetchall() == [("history", 1700)]


def test_an_entry_that_change_pollers_may_not_have_read_stays(
    pruning_app: Flask, pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    """A long transaction began before HISTORY_DAYS and ends now."""
    long, late = pruned.create_user(), pruned.create_user()
    with psycopg.connect(database.info.dsn, password=database.info.password) as writer:
        writer.execute("UPDATE users SET name = 'Ada' WHERE id = %s", [long["id"]])
        services_of(pruning_app).retention.prune()
    pruned.patch(f"/users/{late['id']}", {"name": "Bea"})
    age(database, HISTORY_DAYS + 1, "action = 'changed'")
    # The pause since the snapshot has just passed, in which the transaction was open.
    services_of(pruning_app).retention.prune()
    assert actions(pruned, long["id"]) == ["changed", "created"]
    prune()
    assert actions(pruned, long["id"]) == ["created"]


def test_the_latest_transaction_stays_known_to_change_pollers(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    for _ in range(3):
        pruned.create_user()
    age(database, HISTORY_DAYS + 1)
    largest = database.execute("SELECT max(xid)::text FROM history").fetchone()
    prune()
    assert database.execute("SELECT xid::text FROM history").fetchall() == [largest]


def test_users_longer_in_the_trash_than_trash_days_are_purged(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    old, young, active = (pruned.create_user(username=name, password=PASSWORD) for name in ("old", "young", "active"))
    for user in (old, young):
        pruned.delete(f"/users/{user['id']}")
    age_trash(database, old["id"], TRASH_DAYS + 0.1)
    age_trash(database, young["id"], TRASH_DAYS - 0.1)
    prune()
    assert [user["id"] for user in pruned.list_users(deleted="true")] == [young["id"]]
    assert [user["id"] for user in pruned.list_users()] == [active["id"]]
    entries = pruned.get(f"/users/{old['id']}/history").json
    assert [entry["action"] for entry in entries] == ["purged", "deleted", "created"]
    assert entries[0]["actor"] == "TRASH_DAYS"
    assert "old" not in str(entries)
    assert database.execute("SELECT kind, deleted FROM retention").fetchall() == [("trash", 1)]


def test_more_users_than_a_step_are_purged(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    for _ in range(60):
        user = pruned.create_user()
        pruned.delete(f"/users/{user['id']}")
        age_trash(database, user["id"], TRASH_DAYS + 1)
    prune()
    assert pruned.list_users(deleted="true") == []
    assert database.execute("SELECT deleted FROM retention WHERE kind = 'trash'").fetchone() == (60,)


def test_of_two_hosts_one_deletes_entries_at_a_time(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    user = pruned.create_user()
    pruned.patch(f"/users/{user['id']}", {"name": "Ada"})
    age(database, HISTORY_DAYS + 1)
    with psycopg.connect(database.info.dsn, password=database.info.password) as other:
        other.execute("SELECT pg_advisory_xact_lock(5003)")
        prune()
        assert actions(pruned, user["id"]) == ["changed", "created"]
    prune()
    assert actions(pruned, user["id"]) == ["changed"]


def test_hosts_that_purge_at_the_same_time_purge_each_user_once(
    pruning_app: Flask, make_app: Callable[..., Flask], pruned: ApiClient, database: psycopg.Connection[Any]
) -> None:
    ids = [pruned.create_user()["id"] for _ in range(20)]
    for user_id in ids:
        pruned.delete(f"/users/{user_id}")
        age_trash(database, user_id, TRASH_DAYS + 1)
    apps = [pruning_app, make_app(trash_days=TRASH_DAYS)]
    threads = [threading.Thread(target=services_of(app).retention.prune) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    purged = database.execute("SELECT user_id FROM history WHERE action = 'purged'").fetchall()
    assert sorted(purged) == sorted((uuid.UUID(user_id),) for user_id in ids)
    assert database.execute("SELECT deleted FROM retention WHERE kind = 'trash'").fetchone() == (20,)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_small_pool_is_enough(
    make_app: Callable[..., Flask], api: ApiClient, database: psycopg.Connection[Any], size: int
) -> None:
    app = make_app(history_days=HISTORY_DAYS, trash_days=TRASH_DAYS, database_pool_size=size)
    gone, user = api.create_user(), api.create_user()
    api.delete(f"/users/{gone['id']}")
    api.patch(f"/users/{user['id']}", {"name": "Ada"})
    age(database, HISTORY_DAYS + 1, "action = 'created'")
    age_trash(database, gone["id"], TRASH_DAYS + 1)
    for _ in range(2):
        services_of(app).retention.prune()
    assert api.list_users(deleted="true") == []
    assert actions(api, user["id"]) == ["changed"]


def test_a_locked_user_does_not_keep_the_others(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    locked, gone, user = (pruned.create_user() for _ in range(3))
    for days, deleted in ((2, locked), (1, gone)):
        pruned.delete(f"/users/{deleted['id']}")
        age_trash(database, deleted["id"], TRASH_DAYS + days)
    pruned.patch(f"/users/{user['id']}", {"name": "Ada"})
    age(database, HISTORY_DAYS + 1, "action = 'created'")
    with psycopg.connect(database.info.dsn, password=database.info.password) as other:
        other.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [locked["id"]])
        prune()
        assert [found["id"] for found in pruned.list_users(deleted="true")] == [locked["id"]]
        assert actions(pruned, user["id"]) == ["changed"]
    prune()
    assert pruned.list_users(deleted="true") == []
    assert database.execute("SELECT deleted FROM retention WHERE kind = 'trash'").fetchone() == (2,)


def test_the_failure_of_one_kind_does_not_keep_the_other(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    """PostgreSQL is too busy to purge users."""
    gone, user = pruned.create_user(), pruned.create_user()
    pruned.delete(f"/users/{gone['id']}")
    age_trash(database, gone["id"], TRASH_DAYS + 1)
    pruned.patch(f"/users/{user['id']}", {"name": "Ada"})
    age(database, HISTORY_DAYS + 1, "action = 'created'")
    with failing(database, "DELETE ON users", "RAISE query_canceled"):
        prune()
    assert [found["id"] for found in pruned.list_users(deleted="true")] == [gone["id"]]
    assert actions(pruned, user["id"]) == ["changed"]


def test_without_postgresql_nothing_is_half_done(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None]
) -> None:
    """The connection is lost between the deletion and its record."""
    user = pruned.create_user()
    pruned.patch(f"/users/{user['id']}", {"name": "Ada"})
    age(database, HISTORY_DAYS + 1)
    with failing(database, "INSERT ON retention", "PERFORM pg_terminate_backend(pg_backend_pid())"):
        prune()
    wait_until(lambda: pruned.get("/users").status_code == 200)
    assert actions(pruned, user["id"]) == ["changed", "created"]
    assert database.execute("SELECT count(*) FROM retention").fetchone() == (0,)


def test_the_doctor_reports_what_was_deleted(
    pruning_app: Flask, pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None], flask: Any
) -> None:
    for _ in range(2):
        pruned.create_user()
    age(database, HISTORY_DAYS + 1)
    prune()
    output = pruning_app.test_cli_runner().invoke(args=["doctor"]).output
    assert "history entries are deleted after 30 days; 1 deleted until 20" in output
    assert "users in the trash are deleted after 10 days" in output
    assert "users in the trash are kept for ever (TRASH_DAYS=0)" in flask("doctor").output


@pytest.mark.parametrize("is_pruned", [False, True])
def test_pages_tell_that_older_entries_were_deleted(
    pruned: ApiClient, database: psycopg.Connection[Any], prune: Callable[[], None], is_pruned: bool
) -> None:
    admin = SecuredApp(pruned.app).admin
    user = admin.create_user(name="Ada")
    admin.patch(f"/users/{user['id']}", {"name": "Bea"})
    if is_pruned:
        age(database, HISTORY_DAYS + 1, "action = 'created'")
        prune()

    def page() -> str:
        return admin.flask_client.get(f"/people/{user['id']}", headers=admin.headers).text

    assert ("Entries were deleted because of their age" in page()) is is_pruned
    admin.delete(f"/users/{user['id']}")
    assert ("Entries were deleted because of their age" in page()) is is_pruned
    assert "It will be deleted permanently after this time" in page()
