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
    crowd,
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
    house: SecuredApp, database: psycopg.Connection[Any], action: Action, how: str
) -> None:
    users = prepared(house, action)
    other = house.make(name="Bystander", active=action != "activate")
    outcome = do(house, action, these(users) if how == "ids" else query_of(action))
    assert (outcome.changed, outcome.unchanged) == (3, 0)
    assert (outcome.deleted_at is not None) == (action == "delete")
    for user in users:
        answer = house.admin.get(f"/users/{user['id']}")
        if action == "delete":
            assert answer.status_code == 404
            continue
        expected = {
            "activate": {"active": True, "version": 2},
            "deactivate": {"active": False, "version": 2},
            "role": {"role": "viewer", "version": 2},
            "restore": {"version": 3},
        }[action]
        assert answer.json == {**user, **expected, "updated_at": answer.json["updated_at"]}
        assert answer.json["updated_at"] > user["updated_at"]
    assert house.admin.get(f"/users/{other['id']}").json == other
    require_sound(database)


@pytest.mark.parametrize("action", ACTIONS)
def test_history_reads_as_that_of_the_single_command(house: SecuredApp, action: Action) -> None:
    single, many = pair = prepared(house, action, 2)
    if action == "role":
        do(house, "role", these(pair), role="editor")
    if action in ("deactivate", "delete"):
        for user in pair:
            house.token(user)
    path = f"/users/{single['id']}"
    {
        "activate": lambda: house.admin.patch(path, {"active": True}),
        "deactivate": lambda: house.admin.patch(path, {"active": False}),
        "role": lambda: house.admin.patch(path, {"role": "viewer"}),
        "delete": lambda: house.admin.delete(path),
        "restore": lambda: house.admin.post(f"{path}/restore"),
    }[action]()
    do(house, action, these([many]))

    def told(user: dict[str, Any]) -> list[Any]:
        found = entries(house, user)[:-1]
        for change in (change for entry in found for change in entry["changes"]):
            for side in filter(None, (change["old"], change["new"])):
                if isinstance(side, dict):
                    del side["id"]
        return [(entry["version"], entry["action"], entry["actor"], entry["changes"]) for entry in found]

    assert told(many) == told(single)
    newest = entries(house, many)[0]
    assert (newest["address"], newest["agent"], newest["request_id"]) == ("192.0.2.7", "Console/1", "bulk-1")


@pytest.mark.parametrize("action", ACTIONS)
def test_who_is_so_already_gets_no_new_version(
    house: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users = prepared(house, action)
    first, *_ = users
    assert do(house, action, these([first])).changed == 1
    second = do(house, action, these(users))
    assert (second.changed, second.unchanged) == (2, 1)
    before = everything(database)
    assert do(house, action, these(users)) == BulkResult(0, 3, None)
    assert everything(database) == before
    require_sound(database)


def test_who_is_gone_meanwhile_counts_as_unchanged(house: SecuredApp) -> None:
    here, trashed, purged = users = crowd(house)
    house.admin.delete(f"/users/{trashed['id']}")
    house.admin.delete(f"/users/{purged['id']}?purge=true")
    twice = these([*users, *users])
    assert do(house, "deactivate", twice) == BulkResult(1, 2, None)
    assert house.admin.get(f"/users/{here['id']}").json["version"] == 2


def test_a_delete_is_undone_by_its_moment_and_nothing_else_is(
    house: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    users, others = crowd(house), crowd(house)
    alone = house.make()
    house.admin.delete(f"/users/{alone['id']}")
    first = do(house, "delete", these(users))
    second = do(house, "delete", these(others))
    assert first.deleted_at is not None
    assert first.deleted_at != second.deleted_at
    shown = house.admin.get("/users?deleted=true&q=crowd&sort=-updated_at&limit=6").json
    assert {datetime.fromisoformat(user["deleted_at"]) for user in shown} == {first.deleted_at, second.deleted_at}
    undo = BulkTarget(deleted_at=first.deleted_at)
    assert do(house, "restore", undo, expected=3) == BulkResult(3, 0, None)
    for user in users:
        back = house.admin.get(f"/users/{user['id']}").json
        assert back == {**user, "version": 3, "updated_at": back["updated_at"]}
    assert len(house.admin.listed(deleted="true")) == 4
    assert do(house, "restore", undo) == BulkResult(0, 0, None)
    require_sound(database)


def test_all_that_match_are_meant_whatever_page_they_were_seen_on(house: SecuredApp) -> None:
    users = crowd(house, 7)
    pages = house.admin.pages(q="crowd", limit="2", sort="-name")
    assert len(pages) == 4
    chosen = all_like(q="crowd", limit=2, sort="-name", cursor="of another list")
    assert do(house, "deactivate", chosen, expected=7) == BulkResult(7, 0, None)
    assert {user["id"] for user in house.admin.listed(q="crowd", active="false")} == {user["id"] for user in users}


def test_any_filter_chooses(house: SecuredApp) -> None:
    one, *_ = users = crowd(house, 3, attributes={"team": "red"})
    crowd(house, 2, attributes={"team": "blue"})
    assert do(house, "role", all_like(attributes={"team": "red"})).changed == 3
    assert do(house, "role", all_like(email=one["email"].upper()), role="editor").changed == 1
    assert do(house, "deactivate", all_like(created_after=datetime.now(UTC) + timedelta(hours=1))).changed == 0
    assert do(house, "deactivate", all_like(role="viewer", active=True)).changed == len(users) - 1


def test_lists_and_counts_find_by_the_new_marks(house: SecuredApp) -> None:
    users = crowd(house, 3)

    def found(**query: str) -> int:
        listed = house.admin.listed(q="crowd", **query)
        answer = house.admin.get("/users", query_string={"q": "crowd", **query}, headers={"Prefer": "count=exact"})
        assert int(answer.headers["X-Total-Count"]) == len(listed)
        return len(listed)

    assert [found(role="member"), found(role="viewer"), found(active="true")] == [3, 0, 3]
    do(house, "role", these(users[:2]))
    do(house, "deactivate", these(users[1:]))
    assert [found(role="member"), found(role="viewer"), found(active="true")] == [1, 2, 1]
    assert [found(role="viewer", active="false"), found(role="member", active="false")] == [1, 1]
    do(house, "delete", these(users))
    assert [found(), found(deleted="true"), found(deleted="true", role="viewer")] == [0, 3, 2]


@pytest.mark.parametrize("action", ACTIONS)
def test_no_application_answers_with_what_was_before(
    house: SecuredApp, make_app: Callable[..., Flask], action: Action
) -> None:
    users = prepared(house, action)
    elsewhere = make_app()
    people = [UserClient(app, house.admin.headers, house.admin.user) for app in (house.app, elsewhere)]

    def seen(who: UserClient) -> list[Any]:
        return [
            *(answer.json.get("version") for user in users for answer in [who.get(f"/users/{user['id']}")]),
            *(who.listed(q="crowd", **query) for query in ({}, {"active": "false"}, {"deleted": "true"})),
        ]

    with polling(elsewhere):
        before = [seen(who) for who in people]
        do(house, action, query_of(action))
        after = [seen(people[0])]
        wait_until(lambda: seen(people[1]) == after[0], seconds=BOUND_S)
    assert before[0] == before[1]
    assert before[0][:3] == [None if action == "restore" else 1] * 3
    assert after[0][:3] == [{"delete": None, "restore": 3}.get(action, 2)] * 3
    assert before[0][3:] != after[0][3:]


def test_an_answer_is_forgotten_also_when_that_of_the_commit_is_lost(house: SecuredApp) -> None:
    users = crowd(house)
    path = f"/users/{users[0]['id']}"
    house.admin.get(path)
    member = house.by_token(users[0])
    assert member.get("/me").status_code == 200
    engine = engine_of(house.app)

    @event.listens_for(engine, "commit", once=True)
    def lose(connection: Any) -> None:
        # The commit goes through; then the line is cut before SQLAlchemy's own.
        connection.connection.dbapi_connection.commit()
        connection.connection.dbapi_connection.close()

    with house.app.app_context(), pytest.raises(Unavailable):
        services().bulk.apply("deactivate", these(users), as_user(house.admin.user))
    # Until PostgreSQL is known to be back.
    wait_until(lambda: house.nobody.get("/health").json["status"] == "ok")
    assert house.admin.get(path).json["active"] is False
    assert member.get("/me").status_code == 401


@pytest.mark.parametrize("action", ["deactivate", "delete"])
def test_sessions_and_tokens_end(house: SecuredApp, database: psycopg.Connection[Any], action: Action) -> None:
    users, other = crowd(house), house.make()
    inside = [who for user in users for who in (house.by_session(user), house.by_token(user), house.by_token(user))]
    unused = [house.by_session(user) for user in users]
    outside = [house.by_session(other), house.by_token(other)]
    assert {who.get("/me").status_code for who in inside + outside} == {200}
    do(house, action, these(users))
    assert [who.get("/me").status_code for who in inside] == [401] * 9
    assert [who.get("/me").status_code for who in outside] == [200] * 2
    assert database.execute("SELECT count(*) FROM tokens").fetchone() == (1,)
    do(house, "activate" if action == "deactivate" else "restore", these(users))
    assert [who.get("/me").status_code for who in inside + unused] == [401] * 12
    revoked = [entry for entry in entries(house, users[0]) if entry["action"] == "token_revoked"]
    assert [entry["changes"][0]["old"]["name"] for entry in revoked] == ["a program"] * 2


def test_a_new_role_counts_from_the_next_request(house: SecuredApp) -> None:
    users = crowd(house, 2, "editor")
    tokens = [house.by_token(user) for user in users]
    assert [who.get("/session").json["role"] for who in tokens] == ["editor"] * 2
    session = house.by_session(users[0])
    assert session.post("/users", {"username": "one"}).status_code == 201
    do(house, "role", these(users))
    assert [who.get("/session").json["role"] for who in tokens] == ["viewer"] * 2
    assert [who.post("/users", {"username": "two"}).status_code for who in (*tokens, session)] == [403] * 3


def test_the_first_administrators_close_the_service(app: Flask, api: ApiClient) -> None:
    users = [api.make(password=PASSWORD) for _ in range(2)]
    assert api.get("/users").status_code == 200
    with app.app_context():
        services().bulk.apply("role", these(users), AuditContext(), role="admin")
        assert services_of(app).infrastructure.state.is_secured
    assert api.get("/users").status_code == 401
