"""Concurrent changes of one user: none is lost, and none is based on an old version."""

import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.users.reads import UserReads
from app.users.sql import WRITE_USERS
from tests.support.api_client import ApiClient
from tests.support.concurrency import at_once
from tests.support.engines import statements_of
from tests.support.rows import history_rows, serialized_user


def test_concurrent_changes_of_different_fields_are_all_kept(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any]
) -> None:
    path, rounds = f"/users/{api.create_user(username='ada')['id']}", 12
    tracks = [
        lambda n: {"name": f"Ada {n}"},
        lambda n: {"email": f"ada{n}@example.org"},
        lambda n: {"username": f"ada{n}"},
        lambda n: {"attributes": {"a": n}},
        lambda n: {"attributes": {"b": {str(n): n}}},
        lambda n: {"active": n % 2 == 1},
        lambda n: {"role": "viewer" if n % 2 else "member"},
    ]

    def change(track: Callable[[int], Any]) -> list[int]:
        client, versions = ApiClient(app), []
        for number in range(1, rounds + 1):
            response = client.patch(path, track(number))
            assert response.status_code == 200, response.text
            versions.append(response.json["version"])
        return versions

    answered = at_once([lambda track=track: change(track) for track in tracks])
    user = api.get(path).json
    found = {name: user[name] for name in ("name", "email", "username", "attributes", "active", "role")}
    assert found == {
        "name": f"Ada {rounds}",
        "email": f"ada{rounds}@example.org",
        "username": f"ada{rounds}",
        "attributes": {"a": rounds, "b": {str(n): n for n in range(1, rounds + 1)}},
        "active": False,
        "role": "member",
    }
    # Who was active already, and sets it, changes nothing and is answered with the version of then.
    counted = sorted(version for versions in [*answered[:5], answered[6]] for version in versions)
    assert len(set(counted)) == len(counted)
    entries = database.execute("SELECT version FROM history ORDER BY id").fetchall()
    assert [version for (version,) in entries] == list(range(1, user["version"] + 1))
    assert user["version"] == 1 + 6 * rounds + rounds - 1


def test_of_concurrent_changes_of_one_version_one_succeeds(app: Flask, api: ApiClient) -> None:
    path = f"/users/{api.create_user()['id']}"
    for number in range(1, 16):
        tag = {"If-Match": f'"{number}"'}
        responses = at_once(
            [
                lambda n=n, tag=tag: ApiClient(app).patch(path, {"attributes": {"n": f"{tag} {n}"}}, headers=tag)
                for n in range(6)
            ]
        )
        assert sorted(response.status_code for response in responses) == [200, 412, 412, 412, 412, 412]
    assert api.get(path).json["version"] == 16


@pytest.mark.parametrize("losses", [0, 1, 2, 3, 4])
def test_a_write_that_repeatedly_conflicts_locks_the_row(
    app: Flask,
    api: ApiClient,
    database: psycopg.Connection[Any],
    spied: list[str],
    monkeypatch: pytest.MonkeyPatch,
    losses: int,
) -> None:
    """Another writer changes the user after each of so many reads."""
    user_id = uuid.UUID(api.create_user()["id"])
    left = [losses]

    def meanwhile() -> None:
        if left[0]:
            left[0] -= 1
            database.execute("UPDATE users SET version = version + 1, email = %s", [f"e{left[0]}@example.org"])

    after_each_look(monkeypatch, meanwhile)
    spied.clear()
    with statements_of(app) as statements:
        response = api.patch(f"/users/{user_id}", {"attributes": {"n": 1}})
    assert (response.status_code, response.json["version"]) == (200, 2 + min(losses, 3))
    assert spied.count(WRITE_USERS) == min(losses + 1, 3)
    assert len([one for one in statements if "FOR UPDATE" in one]) == (losses >= 3)
    with app.app_context():
        assert response.data == serialized_user(user_id)
    last = {"email": None} if not losses else {"email": f"e{left[0]}@example.org"}
    assert response.json == {**response.json, **last, "attributes": {"n": 1}}
    assert [entry[0] for entry in history_rows(database, user_id)] == list(range(1, response.json["version"] + 1))


@pytest.mark.parametrize("condition", ["If-Match", "none"])
def test_if_match_is_checked_again_after_each_conflict(
    api: ApiClient, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    user = api.create_user()
    faster = "UPDATE users SET version = version + 1 WHERE version = 1"
    after_each_look(monkeypatch, lambda: database.execute(faster))
    headers = {"If-Match": '"1"'} if condition == "If-Match" else {}
    response = api.patch(f"/users/{user['id']}", {"name": "New"}, headers=headers)
    assert response.status_code == (412 if headers else 200)


@pytest.mark.parametrize("gone", ["trash", "purged"])
def test_a_user_deleted_between_read_and_write_is_not_found(
    api: ApiClient, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    user = api.create_user()
    going = "UPDATE users SET deleted_at = now()" if gone == "trash" else "DELETE FROM users"
    after_each_look(monkeypatch, lambda: database.execute(going))
    assert api.patch(f"/users/{user['id']}", {"name": "New"}).status_code == 404
    actions = [entry[1] for entry in history_rows(database, uuid.UUID(user["id"]))]
    assert actions == ["created", "deleted" if gone == "trash" else "purged"]


def after_each_look(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Let something happen whenever a change has looked at its user, and has not written yet."""
    seen = UserReads.get

    def look(reads: UserReads, wanted: uuid.UUID) -> Any:
        found = seen(reads, wanted)
        happen()
        return found

    monkeypatch.setattr(UserReads, "get", look)
