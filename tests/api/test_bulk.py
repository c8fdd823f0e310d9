"""Many users at once: each of them is changed as by a single command."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import event

from app.auth.audit_log import AuditContext
from app.errors import Unavailable
from app.http.services import services, services_of
from app.users.bulk import BulkResult, BulkTarget
from app.users.bulk_actions import Action
from tests.support.api_client import ApiClient
from tests.support.bulk_calls import (
    ACTIONS,
    all_like,
    as_user,
    create_users,
    do,
    entries,
    everything,
    prepared,
    query_of,
    require_sound,
    these,
)
from tests.support.engines import engine_of
from tests.support.pollers import polling
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient
from tests.support.waiting import BOUND_S, wait_until


@pytest.mark.parametrize("how", ["ids", "query"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_changes_all_chosen_and_nobody_else(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action, how: str
) -> None:
    users = prepared(secured_app, action)
    other = secured_app.create_user(name="Bystander", active=action != "activate")
    outcome = do(secured_app, action, these(users) if how == "ids" else query_of(action))
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
    require_sound(database)


@pytest.mark.parametrize("action", ACTIONS)
def test_history_reads_as_that_of_the_single_command(secured_app: SecuredApp, action: Action) -> None:
    single, many = pair = prepared(secured_app, action, 2)
    if action == "role":
        do(secured_app, "role", these(pair), role="editor")
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
    do(secured_app, action, these([many]))

    def told(user: dict[str, Any]) -> list[Any]:
        found = entries(secured_app, user)[:-1]
        for change in (change for entry in found for change in entry["changes"]):
            for side in filter(None, (change["old"], change["new"])):
                if isinstance(side, dict):
                    del side["id"]
        return [(entry["version"], entry["action"], entry["actor"], entry["changes"]) for entry in found]

    assert told(many) == told(single)
    newest = entries(secured_app, many)[0]
    assert (newest["address"], newest["agent"], newest["request_id"]) == ("192.0.2.7", "Console/1", "bulk-1")


@pytest.mark.parametrize("action", ACTIONS)
def test_who_is_so_already_gets_no_new_version(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users = prepared(secured_app, action)
    first, *_ = users
    assert do(secured_app, action, these([first])).changed == 1
    second = do(secured_app, action, these(users))
    assert (second.changed, second.unchanged) == (2, 1)
    before = everything(database)
    assert do(secured_app, action, these(users)) == BulkResult(0, 3, None)
    assert everything(database) == before
    require_sound(database)


def test_who_is_gone_meanwhile_counts_as_unchanged(secured_app: SecuredApp) -> None:
    here, trashed, purged = users = create_users(secured_app)
    secured_app.admin.delete(f"/users/{trashed['id']}")
    secured_app.admin.delete(f"/users/{purged['id']}?purge=true")
    twice = these([*users, *users])
    assert do(secured_app, "deactivate", twice) == BulkResult(1, 2, None)
    assert secured_app.admin.get(f"/users/{here['id']}").json["version"] == 2


def test_a_delete_is_undone_by_its_moment_and_nothing_else_is(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    users, others = create_users(secured_app), create_users(secured_app)
    alone = secured_app.create_user()
    secured_app.admin.delete(f"/users/{alone['id']}")
    first = do(secured_app, "delete", these(users))
    second = do(secured_app, "delete", these(others))
    assert first.deleted_at is not None
    assert first.deleted_at != second.deleted_at
    shown = secured_app.admin.get("/users?deleted=true&q=crowd&sort=-updated_at&limit=6").json
    assert {datetime.fromisoformat(user["deleted_at"]) for user in shown} == {first.deleted_at, second.deleted_at}
    undo = BulkTarget(deleted_at=first.deleted_at)
    assert do(secured_app, "restore", undo, expected=3) == BulkResult(3, 0, None)
    for user in users:
        back = secured_app.admin.get(f"/users/{user['id']}").json
        assert back == {**user, "version": 3, "updated_at": back["updated_at"]}
    assert len(secured_app.admin.list_users(deleted="true")) == 4
    assert do(secured_app, "restore", undo) == BulkResult(0, 0, None)
    require_sound(database)


def test_all_that_match_are_meant_whatever_page_they_were_seen_on(secured_app: SecuredApp) -> None:
    users = create_users(secured_app, 7)
    pages = secured_app.admin.pages(q="crowd", limit="2", sort="-name")
    assert len(pages) == 4
    chosen = all_like(q="crowd", limit=2, sort="-name", cursor="of another list")
    assert do(secured_app, "deactivate", chosen, expected=7) == BulkResult(7, 0, None)
    assert {user["id"] for user in secured_app.admin.list_users(q="crowd", active="false")} == {
        user["id"] for user in users
    }


def test_any_filter_chooses(secured_app: SecuredApp) -> None:
    one, *_ = users = create_users(secured_app, 3, attributes={"team": "red"})
    create_users(secured_app, 2, attributes={"team": "blue"})
    assert do(secured_app, "role", all_like(attributes={"team": "red"})).changed == 3
    assert do(secured_app, "role", all_like(email=one["email"].upper()), role="editor").changed == 1
    assert do(secured_app, "deactivate", all_like(created_after=datetime.now(UTC) + timedelta(hours=1))).changed == 0
    assert do(secured_app, "deactivate", all_like(role="viewer", active=True)).changed == len(users) - 1


def test_lists_and_counts_find_by_the_new_marks(secured_app: SecuredApp) -> None:
    users = create_users(secured_app, 3)

    def found(**query: str) -> int:
        listed = secured_app.admin.list_users(q="crowd", **query)
        response = secured_app.admin.get(
            "/users", query_string={"q": "crowd", **query}, headers={"Prefer": "count=exact"}
        )
        assert int(response.headers["X-Total-Count"]) == len(listed)
        return len(listed)

    assert [found(role="member"), found(role="viewer"), found(active="true")] == [3, 0, 3]
    do(secured_app, "role", these(users[:2]))
    do(secured_app, "deactivate", these(users[1:]))
    assert [found(role="member"), found(role="viewer"), found(active="true")] == [1, 2, 1]
    assert [found(role="viewer", active="false"), found(role="member", active="false")] == [1, 1]
    do(secured_app, "delete", these(users))
    assert [found(), found(deleted="true"), found(deleted="true", role="viewer")] == [0, 3, 2]


@pytest.mark.parametrize("action", ACTIONS)
def test_no_application_answers_with_what_was_before(
    secured_app: SecuredApp, make_app: Callable[..., Flask], action: Action
) -> None:
    users = prepared(secured_app, action)
    elsewhere = make_app()
    people = [
        UserClient(app, secured_app.admin.headers, secured_app.admin.user) for app in (secured_app.app, elsewhere)
    ]

    def seen(client: UserClient) -> list[Any]:
        return [
            *(response.json.get("version") for user in users for response in [client.get(f"/users/{user['id']}")]),
            *(client.list_users(q="crowd", **query) for query in ({}, {"active": "false"}, {"deleted": "true"})),
        ]

    with polling(elsewhere):
        before = [seen(client) for client in people]
        do(secured_app, action, query_of(action))
        after = [seen(people[0])]
        wait_until(lambda: seen(people[1]) == after[0], seconds=BOUND_S)
    assert before[0] == before[1]
    assert before[0][:3] == [None if action == "restore" else 1] * 3
    assert after[0][:3] == [{"delete": None, "restore": 3}.get(action, 2)] * 3
    assert before[0][3:] != after[0][3:]


def test_an_answer_is_forgotten_also_when_that_of_the_commit_is_lost(secured_app: SecuredApp) -> None:
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
        services().bulk.apply("deactivate", these(users), as_user(secured_app.admin.user))
    # Until PostgreSQL is known to be back.
    wait_until(lambda: secured_app.anonymous.get("/health").json["status"] == "ok")
    assert secured_app.admin.get(path).json["active"] is False
    assert member.get("/me").status_code == 401


@pytest.mark.parametrize("action", ["deactivate", "delete"])
def test_sessions_and_tokens_end(secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action) -> None:
    users, other = create_users(secured_app), secured_app.create_user()
    inside = [
        client
        for user in users
        for client in (secured_app.session_client(user), secured_app.token_client(user), secured_app.token_client(user))
    ]
    unused = [secured_app.session_client(user) for user in users]
    outside = [secured_app.session_client(other), secured_app.token_client(other)]
    assert {client.get("/me").status_code for client in inside + outside} == {200}
    do(secured_app, action, these(users))
    assert [client.get("/me").status_code for client in inside] == [401] * 9
    assert [client.get("/me").status_code for client in outside] == [200] * 2
    assert database.execute("SELECT count(*) FROM tokens").fetchone() == (1,)
    do(secured_app, "activate" if action == "deactivate" else "restore", these(users))
    assert [client.get("/me").status_code for client in inside + unused] == [401] * 12
    revoked = [entry for entry in entries(secured_app, users[0]) if entry["action"] == "token_revoked"]
    assert [entry["changes"][0]["old"]["name"] for entry in revoked] == ["a program"] * 2


def test_a_new_role_counts_from_the_next_request(secured_app: SecuredApp) -> None:
    users = create_users(secured_app, 2, "editor")
    tokens = [secured_app.token_client(user) for user in users]
    assert [client.get("/session").json["role"] for client in tokens] == ["editor"] * 2
    session = secured_app.session_client(users[0])
    assert session.post("/users", {"username": "one"}).status_code == 201
    do(secured_app, "role", these(users))
    assert [client.get("/session").json["role"] for client in tokens] == ["viewer"] * 2
    assert [client.post("/users", {"username": "two"}).status_code for client in (*tokens, session)] == [403] * 3


def test_the_first_administrators_close_the_service(app: Flask, api: ApiClient) -> None:
    users = [api.create_user(password=PASSWORD) for _ in range(2)]
    assert api.get("/users").status_code == 200
    with app.app_context():
        services().bulk.apply("role", these(users), AuditContext(), role="admin")
        assert services_of(app).infrastructure.state.is_secured
    assert api.get("/users").status_code == 401
