"""Each write of the service records one history entry for each changed user, with the xid of its transaction."""

import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from app.users.bulk import Action
from tests.support.bulk_calls import ACTIONS, apply_bulk, create_users_for, target_of
from tests.support.external_sql import history_since, last_history_id
from tests.support.secured_app import PASSWORD, SecuredApp

User = dict[str, Any]
NEW_PASSWORD = "battery staple horse"
NEW_ID = uuid.uuid4()

WRITES: dict[str, tuple[Callable[[SecuredApp, User, str], Any], list[str]]] = {
    "POST": (lambda secured_app, *_: secured_app.admin.post("/users", {"username": "new"}), ["created"]),
    "POST once": (
        lambda secured_app, *_: secured_app.admin.post("/users", {"username": "new"}, headers={"Idempotency-Key": "k"}),
        ["created"],
    ),
    "POST an administrator": (
        lambda secured_app, *_: secured_app.admin.post(
            "/users", {"username": "new", "role": "admin", "password": PASSWORD}
        ),
        ["created"],
    ),
    "PUT, new": (lambda secured_app, *_: secured_app.admin.put(f"/users/{NEW_ID}", {"username": "new"}), ["created"]),
    "PUT": (
        lambda secured_app, user, _: secured_app.admin.put(f"/users/{user['id']}", {"username": "new"}),
        ["changed"],
    ),
    "PUT, nothing new": (
        lambda secured_app, user, _: secured_app.admin.put(
            f"/users/{user['id']}", {"username": "bob", "role": "editor"}
        ),
        [],
    ),
    "PATCH": (
        lambda secured_app, user, _: secured_app.admin.patch(f"/users/{user['id']}", {"name": "New"}),
        ["changed"],
    ),
    "PATCH, nothing new": (
        lambda secured_app, user, _: secured_app.admin.patch(f"/users/{user['id']}", {"name": "bob"}),
        [],
    ),
    "a role": (
        lambda secured_app, user, _: secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"}),
        ["changed"],
    ),
    "a password": (
        lambda secured_app, user, _: secured_app.admin.patch(f"/users/{user['id']}", {"password": NEW_PASSWORD}),
        ["changed"],
    ),
    "inactive": (
        lambda secured_app, user, _: secured_app.admin.patch(f"/users/{user['id']}", {"active": False}),
        ["changed", "token_revoked"],
    ),
    "DELETE": (
        lambda secured_app, user, _: secured_app.admin.delete(f"/users/{user['id']}"),
        ["token_revoked", "deleted"],
    ),
    "purge": (
        lambda secured_app, user, _: secured_app.admin.delete(f"/users/{user['id']}?purge=true"),
        ["token_revoked", "purged"],
    ),
    "a new token": (
        lambda secured_app, user, _: secured_app.admin.post(
            "/tokens", {"name": "t", "role": "viewer", "user_id": user["id"]}
        ),
        ["token_created"],
    ),
    "a revoked token": (lambda secured_app, _, token: secured_app.admin.delete(f"/tokens/{token}"), ["token_revoked"]),
}


def xids(database: psycopg.Connection[Any], entry: int) -> list[int]:
    """The xids of all entries with a greater id."""
    found = database.execute("SELECT xid::text FROM history WHERE id > %s ORDER BY id", [entry]).fetchall()
    return [int(xid) for (xid,) in found]


def current_xid(database: psycopg.Connection[Any]) -> int:
    return int(database.execute("SELECT pg_current_xact_id()::text").fetchone()[0])  # type: ignore[index]


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_one_entry_with_its_transaction(
    secured_app: SecuredApp, database: psycopg.Connection[Any], name: str
) -> None:
    user = secured_app.create_user("editor", username="bob")
    token = secured_app.token(user)["id"]
    write, actions = WRITES[name]
    entry, before = last_history_id(database), current_xid(database)
    assert write(secured_app, user, token).status_code < 300
    found = history_since(database, entry=entry)
    assert [row[1] for row in found] == actions
    actor = f"user:{secured_app.admin.id}"
    assert {row[2] for row in found} <= ({actor, None} if name == "purge" else {actor})
    used = xids(database, entry)
    assert len(set(used)) == (1 if actions else 0)
    assert all(before < xid < current_xid(database) for xid in used)


def test_a_restored_user_is_one_entry(secured_app: SecuredApp, database: psycopg.Connection[Any]) -> None:
    user = secured_app.create_user()
    secured_app.admin.delete(f"/users/{user['id']}")
    entry = last_history_id(database)
    secured_app.admin.post(f"/users/{user['id']}/restore")
    assert history_since(database, entry=entry) == [(user["id"], "restored", f"user:{secured_app.admin.id}")]
    assert xids(database, entry) > [3]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_bulk_change_is_one_entry_for_each_user(
    secured_app: SecuredApp, database: psycopg.Connection[Any], action: Action
) -> None:
    users = create_users_for(secured_app, action)
    entry = last_history_id(database)
    apply_bulk(secured_app, action, target_of(users))
    found = history_since(database, entry=entry)
    assert sorted(row[0] for row in found if row[0]) == sorted(user["id"] for user in users)
    assert {row[2] for row in found} == {f"user:{secured_app.admin.id}"}
    assert len(set(xids(database, entry))) == 1
    assert min(xids(database, entry)) > 3


@pytest.mark.usefixtures("without_refusal_delay")
def test_an_entry_that_no_cached_answer_depends_on_has_no_xid(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    """Otherwise failed sign-ins could invalidate caches."""
    user = secured_app.create_user("editor", username="bob", password=PASSWORD)
    own = secured_app.session_client(user)
    entry = last_history_id(database)
    secured_app.sign_in({"username": "bob", "password": PASSWORD})
    for _ in range(12):
        secured_app.sign_in({"username": "bob", "password": "wrong"})
    secured_app.admin.post(f"/users/{user['id']}/unlock")
    own.delete("/session")
    secured_app.admin.delete(f"/users/{user['id']}/sessions")
    expected = {"signed_in", "sign_in_failed", "sign_in_locked", "unlocked", "signed_out", "sessions_ended"}
    assert {row[1] for row in history_since(database, entry=entry)} == expected
    assert set(xids(database, entry)) == {3}


def test_the_use_of_a_token_creates_no_history_entry(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    program = secured_app.token_client(secured_app.create_user("editor"))
    entry = last_history_id(database)
    assert program.get("/users").status_code == 200
    assert database.execute("SELECT count(last_used_at) FROM tokens").fetchone() == (1,)
    assert history_since(database, entry=entry) == []


def test_a_rolled_back_change_creates_no_history_entry(
    secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    secured_app.create_user(username="taken")
    user, entry = secured_app.create_user(username="bob"), last_history_id(database)
    assert secured_app.admin.put(f"/users/{user['id']}", {"username": "taken"}).status_code == 409
    assert secured_app.admin.post("/users", {"username": "taken"}).status_code == 409
    assert history_since(database, entry=entry) == []
