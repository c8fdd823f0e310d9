"""The trash: delete, list, restore, purge."""

from typing import Any

import psycopg
import pytest

from tests.support.api_client import ApiClient, error_fields, is_timestamp

PERSONAL = {
    "username": "kassandra-troia",
    "email": "kassandra@troia.example",
    "name": "Kassandra Priamidis",
    "attributes": {"hometown": "Ilion-Wilusa"},
    "password": "Apollon-Apollon",
}
TRACES = ["kassandra", "troia", "Priamidis", "Ilion", "hometown", "Apollon", "Tester/7", "trace-7"]


def test_the_trash_lists_who_was_deleted_and_when(api: ApiClient) -> None:
    kept, gone = api.create_user(), api.create_user()
    api.delete(f"/users/{gone['id']}")
    assert [user["id"] for user in api.list_users()] == [kept["id"]]
    (shown,) = api.list_users(deleted="true")
    assert is_timestamp(shown["deleted_at"])
    assert shown == {
        **gone,
        "version": 2,
        "updated_at": shown["deleted_at"],
        "deleted_at": shown["deleted_at"],
    }
    assert api.list_users(deleted="false") == api.list_users()


def test_restoring_brings_a_user_back_as_she_was(api: ApiClient) -> None:
    user = api.create_user(email="ada@example.org", name="Ada", role="editor", attributes={"a": 1}, password="p" * 10)
    path = f"/users/{user['id']}"
    api.delete(path)
    response = api.post(f"{path}/restore")
    assert response.status_code == 200
    back = response.json
    assert back == {**user, "version": 3, "updated_at": back["updated_at"]}
    assert response.headers["ETag"] == '"3"'
    assert api.get(path).json == back
    assert api.list_users(deleted="true") == []
    assert api.list_users(q="ada", role="editor", **{"attributes.a": "1"}) == [back]


def test_restoring_who_is_not_in_the_trash_is_409(api: ApiClient) -> None:
    user = api.create_user()
    assert api.post(f"/users/{user['id']}/restore").status_code == 409


@pytest.mark.parametrize("field", ["username", "email"])
def test_restoring_is_409_when_the_name_was_taken_meanwhile(api: ApiClient, field: str) -> None:
    user = api.create_user(username="ada", email="ada@example.org")
    api.delete(f"/users/{user['id']}")
    other = api.create_user(**{"username": "other", field: user[field].upper()})
    response = api.post(f"/users/{user['id']}/restore")
    assert response.status_code == 409
    assert error_fields(response) == {field}
    assert len(api.list_users(deleted="true")) == 1
    api.delete(f"/users/{other['id']}")
    assert api.post(f"/users/{user['id']}/restore").status_code == 200


def test_names_in_the_trash_are_free_for_any_number_of_users(api: ApiClient) -> None:
    for _ in range(3):
        user = api.create_user(username="ada", email="ada@example.org")
        api.delete(f"/users/{user['id']}")
    assert len(api.list_users(deleted="true")) == 3
    assert api.create_user(username="Ada", email="Ada@example.org")


def test_put_on_a_user_in_the_trash_is_409(api: ApiClient) -> None:
    user = api.create_user()
    api.delete(f"/users/{user['id']}")
    assert api.put(f"/users/{user['id']}", {"username": "new"}).status_code == 409


@pytest.mark.parametrize("from_trash", [False, True])
def test_a_purged_user_is_gone_for_good(api: ApiClient, from_trash: bool) -> None:
    user = api.create_user()
    path = f"/users/{user['id']}"
    if from_trash:
        api.delete(path)
    assert api.delete(f"{path}?purge=true").status_code == 204
    assert api.get(path).status_code == 404
    assert api.post(f"{path}/restore").status_code == 404
    assert api.delete(f"{path}?purge=true").status_code == 404
    assert api.list_users() == api.list_users(deleted="true") == []


def test_purging_leaves_no_personal_data_in_any_table(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    headers = {"User-Agent": "Tester/7", "X-Request-ID": "trace-7"}
    made = api.post("/users", PERSONAL, headers={"Idempotency-Key": "k1", **headers}).json
    path = f"/users/{made['id']}"
    api.patch(path, {"name": "Kassandra of Troia", "attributes": {"hometown": "Mykene"}}, headers=headers)
    api.delete(path, headers=headers)
    api.post(f"{path}/restore", headers=headers)
    bystander = api.create_user(username="hektor")
    assert any(trace in dump(database) for trace in TRACES)
    assert api.delete(f"{path}?purge=true").status_code == 204
    left = dump(database)
    assert [trace for trace in TRACES if trace.lower() in left.lower()] == []
    assert "hektor" in left
    history = api.get(f"{path}/history").json
    assert [entry["action"] for entry in history] == ["purged", "restored", "deleted", "changed", "created"]
    assert all(entry["changes"] == [] and entry["agent"] is None for entry in history[1:])
    assert api.get(f"/users/{bystander['id']}/history").json[0]["changes"]


def dump(database: psycopg.Connection[Any]) -> str:
    """All rows of all tables as text; bytes as the text that they are."""
    rows = []
    for (table,) in database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
        for row in database.execute(f'SELECT * FROM "{table}"').fetchall():  # noqa: S608 - from pg_tables
            rows += [cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell) for cell in row]
    return "\n".join(rows)


@pytest.mark.parametrize("value", ["yes", "1", "TRUE", "", "true%20"])
def test_purge_must_be_true_or_false(api: ApiClient, value: str) -> None:
    user = api.create_user()
    response = api.delete(f"/users/{user['id']}?purge={value}")
    assert response.status_code == 422
    assert error_fields(response) == {"purge"}
    assert api.delete(f"/users/{user['id']}?purge=false").status_code == 204
    assert len(api.list_users(deleted="true")) == 1
