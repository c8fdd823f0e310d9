"""Create, read, replace, change and delete a user."""

import uuid
from typing import Any

import psycopg
import pytest

from tests.support.api_client import ApiClient, error_fields, is_timestamp

READ_ONLY = {"id": "x", "version": "nine", "created_at": 1, "updated_at": None, "deleted_at": [], "password": None}


def test_a_new_user_has_the_defaults_of_the_contract(api: ApiClient) -> None:
    response = api.post("/users", {"email": "Ada@Example.org"})
    assert response.status_code == 201
    user = response.json
    assert uuid.UUID(user["id"]).version == 7
    assert is_timestamp(user["created_at"])
    assert user["updated_at"] == user["created_at"]
    assert user == {
        "id": user["id"],
        "username": "Ada@Example.org",
        "email": "Ada@Example.org",
        "name": "Ada@Example.org",
        "role": "member",
        "active": True,
        "attributes": {},
        "version": 1,
        "created_at": user["created_at"],
        "updated_at": user["created_at"],
    }
    assert response.headers["Location"] == f"/api/users/{user['id']}"
    assert response.headers["ETag"] == '"1"'
    assert api.get(response.headers["Location"].removeprefix("/api")).json == user


def test_a_new_user_keeps_all_that_was_sent(api: ApiClient) -> None:
    fields = {
        "username": "Ünï.cøde-42",
        "email": "ada@example.test",
        "name": "Ada 田中",
        "role": "admin",
        "active": False,
        "attributes": {"n": 1, "r": 1.0, "big": 1e20, "deep": {"list": [None, True, "x"]}, "": ""},
    }
    user = api.create_user(**fields, password="correct horse")
    assert {name: user[name] for name in fields} == fields
    assert isinstance(user["attributes"]["r"], float)
    assert isinstance(user["attributes"]["n"], int)
    assert "password" not in api.get(f"/users/{user['id']}").text


def test_a_username_is_enough_and_is_the_name_when_that_is_left_out(api: ApiClient) -> None:
    user = api.create_user(username="ada")
    assert (user["username"], user["email"], user["name"]) == ("ada", None, "ada")


def test_a_name_made_from_a_long_username_keeps_the_rule_of_names(api: ApiClient) -> None:
    user = api.create_user(username="u" * 254)
    assert user["name"] == "u" * 200
    again = api.put(f"/users/{user['id']}", user)
    assert again.status_code == 200, again.text


@pytest.mark.parametrize("body", [{}, {"name": "Ada"}, {"email": None}])
def test_a_user_without_email_and_username_is_refused(api: ApiClient, body: dict[str, Any]) -> None:
    response = api.post("/users", body)
    assert response.status_code == 422
    assert error_fields(response) == {"email", "username"}


def test_read_only_fields_of_a_body_are_ignored(api: ApiClient) -> None:
    made = api.post("/users", {"username": "ada", **READ_ONLY})
    assert made.status_code == 201, made.text
    user = made.json
    assert user["version"] == 1
    assert api.patch(f"/users/{user['id']}", {**READ_ONLY, "name": "Ada"}).json["name"] == "Ada"
    replaced = api.put(f"/users/{user['id']}", {"username": "ada", "name": "Ada", **READ_ONLY})
    assert replaced.status_code == 200
    assert replaced.json["id"] == user["id"]


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_an_unknown_field_is_refused_by_name(api: ApiClient, method: str) -> None:
    user = api.create_user()
    path = "/users" if method == "post" else f"/users/{user['id']}"
    response = getattr(api, method)(path, {"username": "new", "emial": "a@example.org"})
    assert response.status_code == 422
    assert error_fields(response) == {"emial"}


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_all_bad_fields_are_named_at_once(api: ApiClient, method: str) -> None:
    user = api.create_user()
    bad = {
        "username": "a b",
        "email": "nobody",
        "name": "",
        "role": "king",
        "active": "yes",
        "attributes": [],
        "password": "short",
        "nonsense": 1,
    }
    response = getattr(api, method)("/users" if method == "post" else f"/users/{user['id']}", bad)
    assert response.status_code == 422
    assert error_fields(response) == bad.keys()


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
def test_a_body_that_is_no_object_is_refused(api: ApiClient, body: bytes) -> None:
    assert api.post("/users", body).status_code == 422


@pytest.mark.parametrize("field", ["username", "email"])
@pytest.mark.parametrize(("one", "other"), [("ada@example.org", "ADA@Example.ORG"), ("é@example.org", "É@example.org")])
def test_a_taken_name_is_409_and_named_in_any_case(api: ApiClient, field: str, one: str, other: str) -> None:
    api.create_user(**{field: one})
    second = {"username": "second", field: other}
    response = api.post("/users", second)
    assert response.status_code == 409
    assert field in error_fields(response)
    other_user = api.create_user(username="third")
    assert api.patch(f"/users/{other_user['id']}", {field: other}).status_code == 409
    assert api.put(f"/users/{other_user['id']}", second).status_code == 409
    assert len(api.list_users()) == 2


def test_many_users_may_have_no_email(api: ApiClient) -> None:
    api.create_user(username="a", email=None)
    api.create_user(username="b", email=None)
    assert len(api.list_users()) == 2


@pytest.mark.parametrize(
    "user_id",
    [
        "0198c0de-0000-7000-8000-000000000001",
        "00000000-0000-0000-0000-000000000000",
        "x",
        "1",
        "0198c0de00007000800000000000000g",
        "0198c0de000070008000000000000001",
        "{0198c0de-0000-7000-8000-000000000001}",
        "urn:uuid:0198c0de-0000-7000-8000-000000000001",
        "%00",
        "..",
        "%F0%9F%98%80",
        "'; DROP TABLE users; --",
        "x" * 5000,
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_id_is_404(api: ApiClient, method: str, user_id: str) -> None:
    body = {"json": {}} if method == "PATCH" else {}
    assert api(method, f"/users/{user_id}", **body).status_code == 404
    assert api("GET", f"/users/{user_id}/history").status_code == 404
    assert api("POST", f"/users/{user_id}/restore").status_code == 404


def test_put_creates_under_the_id_that_the_client_chose(api: ApiClient) -> None:
    user_id = "0198c0de-0000-7000-8000-000000000001"
    response = api.put(f"/users/{user_id}", {"username": "ada"})
    assert response.status_code == 201
    assert response.json["id"] == user_id
    assert response.headers["Location"] == f"/api/users/{user_id}"
    assert response.headers["ETag"] == '"1"'
    assert api.put(f"/users/{user_id.upper()}", {"username": "ada"}).status_code == 200


def test_put_with_an_invalid_id_is_404(api: ApiClient) -> None:
    assert api.put("/users/nobody", {"username": "ada"}).status_code == 404


def test_put_replaces_all_fields_and_resets_omitted_ones(api: ApiClient) -> None:
    user = api.create_user(email="ada@example.org", name="Ada", role="admin", active=False, attributes={"a": 1})
    response = api.put(f"/users/{user['id']}", {"username": "ada"})
    assert response.status_code == 200
    assert "Location" not in response.headers
    new = response.json
    assert (new["username"], new["email"], new["name"]) == ("ada", None, "ada")
    assert (new["role"], new["active"], new["attributes"], new["version"]) == ("member", True, {}, 2)
    assert new["created_at"] == user["created_at"]
    assert new["updated_at"] > user["updated_at"]


def test_put_of_an_unchanged_get_response_changes_nothing(api: ApiClient) -> None:
    made = api.create_user(
        email="ada@example.org", name="Ada", attributes={"x": [1, 2.0, None], "s": "ä"}, password="p" * 10
    )
    got = api.get(f"/users/{made['id']}")
    response = api.put(f"/users/{made['id']}", got.data)
    assert response.status_code == 200
    assert response.data == got.data
    assert api.get(f"/users/{made['id']}/history").json[0]["action"] == "created"


def test_patch_changes_what_it_names_and_nothing_else(api: ApiClient) -> None:
    user = api.create_user(email="ada@example.org", name="Ada", attributes={"a": 1})
    response = api.patch(f"/users/{user['id']}", {"name": "Countess", "role": "editor"})
    assert response.status_code == 200
    new = response.json
    assert response.headers["ETag"] == '"2"'
    assert new == {**user, "name": "Countess", "role": "editor", "version": 2, "updated_at": new["updated_at"]}
    assert api.get(f"/users/{user['id']}").json == new


@pytest.mark.parametrize(
    "kind", ["application/json", "application/merge-patch+json", "application/json; charset=UTF-8"]
)
def test_patch_takes_both_media_types(api: ApiClient, kind: str) -> None:
    user = api.create_user()
    response = api.patch(f"/users/{user['id']}", b'{"name": "Ada"}', content_type=kind)
    assert response.json["name"] == "Ada"


def test_null_in_a_patch_restores_the_default(api: ApiClient) -> None:
    user = api.create_user(
        username="ada", email="a@example.org", name="Ada", role="admin", active=False, attributes={"a": 1}
    )
    nulls = dict.fromkeys(("username", "email", "name", "role", "active", "attributes"))
    without_email = {name: value for name, value in nulls.items() if name not in ("email", "username")}
    new = api.patch(f"/users/{user['id']}", without_email).json
    assert (new["name"], new["role"], new["active"], new["attributes"]) == ("ada", "member", True, {})
    assert api.patch(f"/users/{user['id']}", {"username": None}).json["username"] == "a@example.org"
    response = api.patch(f"/users/{user['id']}", nulls)
    assert response.status_code == 422
    assert error_fields(response) == {"email", "username"}


def test_attributes_are_merged_as_rfc_7396_says(api: ApiClient) -> None:
    user = api.create_user(attributes={"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2], "f": "x", "g": 1})
    patch = {"a": {"b": None, "c": {"new": {"n": None}}}, "e": [None], "f": {"deep": 1, "none": None}, "h": None}
    new = api.patch(f"/users/{user['id']}", {"attributes": patch}).json
    assert new["attributes"] == {"a": {"c": {"d": 2, "new": {}}}, "e": [None], "f": {"deep": 1}, "g": 1}


def test_the_rules_of_attributes_hold_after_merging(api: ApiClient) -> None:
    user = api.create_user(attributes={"a": "x" * 9000})
    response = api.patch(f"/users/{user['id']}", {"attributes": {"b": "y" * 9000}})
    assert response.status_code == 422
    assert error_fields(response) == {"attributes"}
    assert api.patch(f"/users/{user['id']}", {"attributes": {"a": None, "b": "y" * 9000}}).status_code == 200


@pytest.mark.parametrize("body", [{}, {"name": "Ada"}, {"attributes": {}}, {"attributes": {"x": None}}])
def test_a_patch_that_changes_nothing_makes_no_version(api: ApiClient, body: dict[str, Any]) -> None:
    user = api.create_user(name="Ada", attributes={"a": 1})
    response = api.patch(f"/users/{user['id']}", body)
    assert response.json == user
    assert len(api.get(f"/users/{user['id']}/history").json) == 1


def test_attribute_values_1_true_and_1_0_are_different(api: ApiClient) -> None:
    user = api.create_user(attributes={"x": 1})
    for version, value in enumerate((True, 1.0, 1), start=2):
        new = api.patch(f"/users/{user['id']}", {"attributes": {"x": value}}).json
        assert new["version"] == version
        assert type(new["attributes"]["x"]) is type(value)


def test_a_deleted_user_is_gone_and_a_second_delete_is_404(api: ApiClient) -> None:
    user = api.create_user()
    path = f"/users/{user['id']}"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.patch(path, {"name": "x"}).status_code == 404
    assert api.delete(path).status_code == 404
    assert api.list_users() == []


def test_passwords_are_kept_as_argon2id_and_nowhere_else(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    user = api.create_user(password="correct horse battery")
    (kept,) = database.execute("SELECT password_hash FROM users").fetchone()
    assert kept.startswith("$argon2id$")
    new = api.patch(f"/users/{user['id']}", {"password": "staple battery horse"}).json
    assert new["version"] == 2
    (changed,) = database.execute("SELECT password_hash FROM users").fetchone()
    assert changed != kept
    api.put(f"/users/{user['id']}", {"username": "still"})
    assert database.execute("SELECT password_hash FROM users").fetchone() == (changed,)
    api.patch(f"/users/{user['id']}", {"password": None})
    assert database.execute("SELECT password_hash FROM users").fetchone() == (None,)


def test_the_exercise_finds_the_same_routes_at_the_root(app, api: ApiClient) -> None:
    root = ApiClient(app, base="")
    user = root.create_user(username="ada")
    assert root.get(f"/users/{user['id']}").json == api.get(f"/users/{user['id']}").json
    assert root.list_users() == api.list_users() == [user]
    assert root.patch(f"/users/{user['id']}", {"name": "Ada"}).json["name"] == "Ada"
    assert len(root.get(f"/users/{user['id']}/history").json) == 2
    assert root.delete(f"/users/{user['id']}").status_code == 204
    assert root.post(f"/users/{user['id']}/restore").status_code == 200
    assert root.get("/health").json["status"] == "ok"
    made = root.post("/users", {"username": "bob"})
    assert made.headers["Location"] == f"/users/{made.json['id']}"
