"""Bulk commands change each user like a single command."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import event

from app.auth.permissions import SETUP_ACTOR, AuditContext
from app.errors import Unavailable
from app.http.services import services, services_of
from app.users.bulk import Action, BulkResult, BulkTarget
from tests.support.api_client import ApiClient
from tests.support.bulk_calls import (
    ACTIONS,
    all_rows,
    apply_bulk,
    as_user,
    create_users,
    create_users_for,
    history_of,
    matching,
    query_of,
    require_consistent,
    target_of,
)
from tests.support.engines import engine_of
from tests.support.pollers import polling
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient
from tests.support.waiting import BOUND_S, wait_until


@pytest.mark.parametrize("how", ["ids", "query"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_bulk_action_changes_exactly_the_selected_users(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action, how: str
) -> None:
    users = create_users_for(secured_app, action)
    other = secured_app.create_user(name="Bystander", active=action != "activate")
    outcome = apply_bulk(secured_app, action, target_of(users) if how == "ids" else query_of(action))
    assert (outcome.changed, outcome.unchanged) == (3, 0)
    assert (outcome.deleted_at is not None) == (action == "delete")
    for user in users:
        response = secured_app.admin.get(f"/users/{user['id']}")
        if action == "delete":
            assert response.status_code == 404
            continue
        expected = {
            "activate": {"active": True, "version": 2},
            "deactivate": {"active": False, "version": 2},
            "role": {"role": "viewer", "version": 2},
            "restore": {"version": 3},
        }[action]
        assert response.json == {**user, **expected, "updated_at": response.json["updated_at"]}
        assert response.json["updated_at"] > user["updated_at"]
    assert secured_app.admin.get(f"/users/{other['id']}").json == other
    require_consistent(database)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_bulk_command_records_the_same_history_as_the_single_command(secured_app: SecuredApp, action: Action) -> None:
    single, many = pair = create_users_for(secured_app, action, 2)
    if action == "role":
        apply_bulk(secured_app, "role", target_of(pair), role="editor")
    if action in ("deactivate", "delete"):
        for user in pair:
            secured_app.token(user)
    path = f"/users/{single['id']}"
    {
        "activate": lambda: secured_app.admin.patch(path, {"active": True}),
        "deactivate": lambda: secured_app.admin.patch(path, {"active": False}),
        "role": lambda: secured_app.admin.patch(path, {"role": "viewer"}),
        "delete": lambda: secured_app.admin.delete(path),
        "restore": lambda: secured_app.admin.post(f"{path}/restore"),
    }[action]()
    apply_bulk(secured_app, action, target_of([many]))

    def told(user: dict[str, Any]) -> list[Any]:
        found = history_of(secured_app, user)[:-1]
        for change in (change for entry in found for change in entry["changes"]):
            for side in filter(None, (change["old"], change["new"])):
                if isinstance(side, dict):
                    del side["id"]
        return [(entry["version"], entry["action"], entry["actor"], entry["changes"]) for entry in found]

    assert told(many) == told(single)
    versions = [entry["version"] for entry in history_of(secured_app, many)]
    assert versions == sorted(versions, reverse=True)
    newest = history_of(secured_app, many)[0]
    assert (newest["address"], newest["agent"], newest["request_id"]) == ("192.0.2.7", "Console/1", "bulk-1")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_user_already_in_the_target_state_gets_no_new_version(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users = create_users_for(secured_app, action)
    first, *_ = users
    assert apply_bulk(secured_app, action, target_of([first])).changed == 1
    second = apply_bulk(secured_app, action, target_of(users))
    assert (second.changed, second.unchanged) == (2, 1)
    before = all_rows(database)
    assert apply_bulk(secured_app, action, target_of(users)) == BulkResult(0, 3, None)
    assert all_rows(database) == before
    require_consistent(database)


def test_a_user_purged_meanwhile_counts_as_unchanged(secured_app: SecuredApp) -> None:
    here, trashed, purged = users = create_users(secured_app)
    secured_app.admin.delete(f"/users/{trashed['id']}")
    secured_app.admin.delete(f"/users/{purged['id']}?purge=true")
    twice = target_of([*users, *users])
    assert apply_bulk(secured_app, "deactivate", twice) == BulkResult(1, 2, None)
    assert secured_app.admin.get(f"/users/{here['id']}").json["version"] == 2


def test_undo_by_timestamp_restores_only_the_users_of_that_delete(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    users, others = create_users(secured_app), create_users(secured_app)
    alone = secured_app.create_user()
    secured_app.admin.delete(f"/users/{alone['id']}")
    first = apply_bulk(secured_app, "delete", target_of(users))
    second = apply_bulk(secured_app, "delete", target_of(others))
    assert first.deleted_at is not None
    assert first.deleted_at != second.deleted_at
    shown = secured_app.admin.get("/users?deleted=true&q=crowd&sort=-updated_at&limit=6").json
    assert {datetime.fromisoformat(user["deleted_at"]) for user in shown} == {first.deleted_at, second.deleted_at}
    undo = BulkTarget(deleted_at=first.deleted_at)
    assert apply_bulk(secured_app, "restore", undo, expected=3) == BulkResult(3, 0, None)
    for user in users:
        back = secured_app.admin.get(f"/users/{user['id']}").json
        assert back == {**user, "version": 3, "updated_at": back["updated_at"]}
    assert len(secured_app.admin.list_users(deleted="true")) == 4
    assert apply_bulk(secured_app, "restore", undo) == BulkResult(0, 0, None)
    require_consistent(database)


def test_a_bulk_action_by_query_applies_to_all_matching_users(secured_app: SecuredApp) -> None:
    users = create_users(secured_app, 7)
    pages = secured_app.admin.pages(q="crowd", limit="2", sort="-name")
    assert len(pages) == 4
    chosen = matching(q="crowd", limit=2, sort="-name", cursor="of another list")
    assert apply_bulk(secured_app, "deactivate", chosen, expected=7) == BulkResult(7, 0, None)
    assert {user["id"] for user in secured_app.admin.list_users(q="crowd", active="false")} == {
        user["id"] for user in users
    }


def test_a_bulk_action_accepts_every_filter(secured_app: SecuredApp) -> None:
    one, *_ = users = create_users(secured_app, 3, attributes={"team": "red"})
    create_users(secured_app, 2, attributes={"team": "blue"})
    assert apply_bulk(secured_app, "role", matching(attributes={"team": "red"})).changed == 3
    assert apply_bulk(secured_app, "role", matching(email=one["email"].upper()), role="editor").changed == 1
    assert (
        apply_bulk(secured_app, "deactivate", matching(created_after=datetime.now(UTC) + timedelta(hours=1))).changed
        == 0
    )
    assert apply_bulk(secured_app, "deactivate", matching(role="viewer", active=True)).changed == len(users) - 1


def test_lists_and_counts_use_the_new_tags(secured_app: SecuredApp) -> None:
    users = create_users(secured_app, 3)

    def found(**query: str) -> int:
        listed = secured_app.admin.list_users(q="crowd", **query)
        response = secured_app.admin.get(
            "/users", query_string={"q": "crowd", **query}, headers={"Prefer": "count=exact"}
        )
        assert int(response.headers["X-Total-Count"]) == len(listed)
        return len(listed)

    assert [found(role="member"), found(role="viewer"), found(active="true")] == [3, 0, 3]
    apply_bulk(secured_app, "role", target_of(users[:2]))
    apply_bulk(secured_app, "deactivate", target_of(users[1:]))
    assert [found(role="member"), found(role="viewer"), found(active="true")] == [1, 2, 1]
    assert [found(role="viewer", active="false"), found(role="member", active="false")] == [1, 1]
    apply_bulk(secured_app, "delete", target_of(users))
    assert [found(), found(deleted="true"), found(deleted="true", role="viewer")] == [0, 3, 2]


@pytest.mark.parametrize("action", ACTIONS)
def test_no_host_serves_stale_users_after_a_bulk_action(
    secured_app: SecuredApp, make_app: Callable[..., Flask], action: Action
) -> None:
    users = create_users_for(secured_app, action)
    elsewhere = make_app()
    clients = [
        UserClient(app, secured_app.admin.headers, secured_app.admin.user) for app in (secured_app.app, elsewhere)
    ]

    def seen(client: UserClient) -> list[Any]:
        return [
            *(response.json.get("version") for user in users for response in [client.get(f"/users/{user['id']}")]),
            *(client.list_users(q="crowd", **query) for query in ({}, {"active": "false"}, {"deleted": "true"})),
        ]

    with polling(elsewhere):
        before = [seen(client) for client in clients]
        apply_bulk(secured_app, action, query_of(action))
        after = [seen(clients[0])]
        wait_until(lambda: seen(clients[1]) == after[0], seconds=BOUND_S)
    assert before[0] == before[1]
    assert before[0][:3] == [None if action == "restore" else 1] * 3
    assert after[0][:3] == [{"delete": None, "restore": 3}.get(action, 2)] * 3
    assert before[0][3:] != after[0][3:]


def test_cached_answers_are_invalidated_when_the_result_of_the_commit_is_lost(secured_app: SecuredApp) -> None:
    users = create_users(secured_app)
    path = f"/users/{users[0]['id']}"
    secured_app.admin.get(path)
    member = secured_app.token_client(users[0])
    assert member.get("/me").status_code == 200
    engine = engine_of(secured_app.app)

    @event.listens_for(engine, "commit", once=True)
    def lose(connection: Any) -> None:
        # The commit goes through; then the line is cut before SQLAlchemy's own.
        connection.connection.dbapi_connection.commit()
        connection.connection.dbapi_connection.close()

    with secured_app.app.app_context(), pytest.raises(Unavailable):
        services().bulk.apply("deactivate", target_of(users), as_user(secured_app.admin.user))
    # Until PostgreSQL is known to be back.
    wait_until(lambda: secured_app.anonymous.get("/health").json["status"] == "ok")
    assert secured_app.admin.get(path).json["active"] is False
    assert member.get("/me").status_code == 401


@pytest.mark.parametrize("action", ["deactivate", "delete"])
def test_a_bulk_action_ends_sessions_and_tokens(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users, other = create_users(secured_app), secured_app.create_user()
    inside = [
        client
        for user in users
        for client in (secured_app.session_client(user), secured_app.token_client(user), secured_app.token_client(user))
    ]
    unused = [secured_app.session_client(user) for user in users]
    outside = [secured_app.session_client(other), secured_app.token_client(other)]
    assert {client.get("/me").status_code for client in inside + outside} == {200}
    apply_bulk(secured_app, action, target_of(users))
    assert [client.get("/me").status_code for client in inside] == [401] * 9
    assert [client.get("/me").status_code for client in outside] == [200] * 2
    assert database.execute("SELECT count(*) FROM tokens").fetchone() == (1,)
    apply_bulk(secured_app, "activate" if action == "deactivate" else "restore", target_of(users))
    assert [client.get("/me").status_code for client in inside + unused] == [401] * 12
    revoked = [entry for entry in history_of(secured_app, users[0]) if entry["action"] == "token_revoked"]
    assert [entry["changes"][0]["old"]["name"] for entry in revoked] == ["a program"] * 2


def test_a_role_set_by_a_bulk_action_applies_from_the_next_request(secured_app: SecuredApp) -> None:
    users = create_users(secured_app, 2, "editor")
    tokens = [secured_app.token_client(user) for user in users]
    assert [client.get("/session").json["role"] for client in tokens] == ["editor"] * 2
    session = secured_app.session_client(users[0])
    assert session.post("/users", {"username": "one"}).status_code == 201
    apply_bulk(secured_app, "role", target_of(users))
    assert [client.get("/session").json["role"] for client in tokens] == ["viewer"] * 2
    assert [client.post("/users", {"username": "two"}).status_code for client in (*tokens, session)] == [403] * 3


def test_a_bulk_change_that_creates_the_first_administrators_secures_the_service(app: Flask, api: ApiClient) -> None:
    users = [api.create_user(password=PASSWORD) for _ in range(2)]
    assert api.get("/users").status_code == 200
    with app.app_context():
        services().bulk.apply("role", target_of(users), AuditContext(SETUP_ACTOR), role="admin")
        assert services_of(app).state.is_secured
    assert api.get("/users").status_code == 401
