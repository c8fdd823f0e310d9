"""Bulk commands while other requests change the same users."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.errors import Conflict, Unavailable
from app.http.services import services
from app.models import ADMINISTRATOR
from app.users.bulk import Action, BulkResult, BulkTarget
from tests.support.bulk_calls import (
    all_rows,
    apply_bulk,
    as_user,
    create_users,
    matching,
    require_consistent,
    target_of,
)
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient
from tests.support.waiting import wait_until


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("action", ["deactivate", "delete", "role"])
def test_administrators_who_remove_each_other_at_once_leave_one(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action, count: int
) -> None:
    """Each removes the next one in the circle, and some others."""
    for _ in range(3):
        admins = [
            secured_app.admin.user,
            *(secured_app.create_user("admin", password=PASSWORD) for _ in range(count - 1)),
        ]
        members = [create_users(secured_app, 2) for _ in admins]
        start = threading.Barrier(count)

        def remove(number: int, admins: Any = admins, members: Any = members, start: Any = start) -> str:
            chosen = target_of([*members[number], admins[(number + 1) % len(admins)]])
            start.wait()
            try:
                apply_bulk(secured_app, action, chosen, by=admins[number])
            except Conflict:
                return "refused"
            return "done"

        with ThreadPoolExecutor(count) as pool:
            assert sorted(pool.map(remove, range(count))) == ["done"] * (count - 1) + ["refused"]
        left = database.execute(f"SELECT id::text FROM users WHERE {ADMINISTRATOR}").fetchall()  # noqa: S608 - a constant
        assert len(left) == 1
        secured_app.admin = secured_app.session_client(next(one for one in admins if one["id"] == left[0][0]))


def test_concurrent_opposite_bulk_actions_run_one_after_the_other(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    users = create_users(secured_app, 40)
    calls: list[tuple[Action, BulkTarget]] = [
        ("activate", target_of(users)),
        ("deactivate", target_of(users[::-1])),
        ("activate", matching(q="crowd", sort="-username")),
        ("deactivate", matching(q="crowd", active=True)),
    ]
    for _ in range(6):
        start = threading.Barrier(len(calls))

        def run(call: tuple[Action, BulkTarget], start: Any = start) -> BulkResult:
            start.wait()
            return apply_bulk(secured_app, *call)

        with ThreadPoolExecutor(len(calls)) as pool:
            outcomes = list(pool.map(run, calls))
        assert all(outcome.changed in (0, 40) for outcome in outcomes)
        assert len({user["active"] for user in secured_app.admin.list_users(q="crowd")}) == 1
    require_consistent(database)


def test_concurrent_deletes_and_restores_run_one_after_the_other(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    users = create_users(secured_app, 40)
    for _ in range(6):
        start = threading.Barrier(2)

        def run(action: Action, start: Any = start) -> BulkResult:
            start.wait()
            return apply_bulk(secured_app, action, target_of(users))

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(run, ("delete", "restore")))
        assert all(outcome.changed in (0, 40) for outcome in outcomes)
        assert len(secured_app.admin.list_users(q="crowd", limit="100")) in (0, 40)
    require_consistent(database)


def test_single_changes_at_the_same_time_are_kept(secured_app: SecuredApp, database: psycopg.Connection[Any]) -> None:
    users = create_users(secured_app, 24)
    by_name = {user["id"]: f"Renamed {number}" for number, user in enumerate(users)}
    start = threading.Barrier(3)

    def rename(half: list[dict[str, Any]]) -> set[int]:
        start.wait()
        client = UserClient(secured_app.app, secured_app.admin.headers, secured_app.admin.user)
        return {client.patch(f"/users/{user['id']}", {"name": by_name[user["id"]]}).status_code for user in half}

    def switch() -> int:
        start.wait()
        return sum(
            apply_bulk(secured_app, action, matching(q="crowd")).changed
            for action in ("deactivate", "activate", "role")
        )

    with ThreadPoolExecutor(3) as pool:
        renamed = [pool.submit(rename, half) for half in (users[:12], users[:11:-1])]
        switched = pool.submit(switch)
        assert [future.result() for future in renamed] == [{200}, {200}]
        assert switched.result() == 72
    for user in secured_app.admin.list_users(q="crowd", limit="100"):
        expected = {"name": by_name[user["id"]], "active": True, "role": "viewer", "version": 5}
        assert {name: user[name] for name in expected} == expected
        assert secured_app.admin.get(f"/users/{user['id']}").json == user
    require_consistent(database)


def test_a_bulk_action_uses_the_current_users_after_waiting_for_locks(
    secured_app: SecuredApp, servers: Any, database: psycopg.Connection[Any]
) -> None:
    """Somebody holds three rows when the call comes; then one no longer fits, one has another name, one is purged."""
    raised, renamed, purged, still = create_users(secured_app, 4)
    change = "UPDATE users SET {} , version = version + 1 WHERE id = %s"
    with psycopg.connect(servers.postgres.url) as other:
        other.execute(
            change.format("role = 'admin', search_vector = ts_delete(search_vector, '=role:member')"), [raised["id"]]
        )
        other.execute(change.format("name = 'Other'"), [renamed["id"]])
        other.execute("DELETE FROM users WHERE id = %s", [purged["id"]])
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(apply_bulk, secured_app, "deactivate", matching(q="crowd", role="member"))
            lock = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'WITH hits%'"
            wait_until(lambda: database.execute(lock).fetchone())
            other.commit()
            assert waiting.result() == BulkResult(2, 0, None)
    found = {str(row[0]): row[1:] for row in database.execute("SELECT id, name, role, active, version FROM users")}
    assert found[raised["id"]][1:] == ("admin", True, 2)
    assert found[renamed["id"]] == ("Other", "member", False, 3)
    assert found[still["id"]][2:] == (False, 2)
    assert purged["id"] not in found


def test_a_bulk_action_that_exceeds_the_lock_timeout_changes_no_user(
    make_app: Callable[..., Flask], secured_app: SecuredApp, servers: Any, database: psycopg.Connection[Any]
) -> None:
    users = create_users(secured_app)
    before = all_rows(database)
    with psycopg.connect(servers.postgres.url) as other, make_app(database_timeout_s=0.5).app_context():
        other.execute("SELECT 1 FROM users WHERE id = %s FOR UPDATE", [users[1]["id"]])
        with pytest.raises(Unavailable):
            services().bulk.apply("delete", target_of(users), as_user(secured_app.admin.user))
    assert all_rows(database) == before
