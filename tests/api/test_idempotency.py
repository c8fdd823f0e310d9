"""Idempotency-Key: a repeated POST creates one user and returns the same response."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.auth import passwords
from app.schemas import UserDraft
from app.users.idempotency import IdempotentRequest
from tests.support.api_client import ApiClient
from tests.support.secured_app import SecuredApp

KEY = {"Idempotency-Key": "0b1f9c7e-once"}
ADA = {"username": "ada", "name": "Ada", "attributes": {"a": 1, "b": [2]}}


def test_the_same_key_and_body_give_the_first_answer_again(api: ApiClient) -> None:
    first = api.post("/users", ADA, headers=KEY)
    second = api.post("/users", ADA, headers=KEY)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.data == first.data
    for name in ("ETag", "Location", "Content-Type"):
        assert second.headers[name] == first.headers[name]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(api.list_users()) == 1
    assert len(api.get(f"/users/{first.json['id']}/history").json) == 1


def test_the_order_of_the_fields_does_not_matter(api: ApiClient) -> None:
    first = api.post("/users", ADA, headers=KEY)
    turned = dict(reversed(ADA.items()))
    assert api.post("/users", turned, headers=KEY).data == first.data


def test_the_first_response_is_repeated_after_the_user_changed_or_was_deleted(api: ApiClient) -> None:
    first = api.post("/users", ADA, headers=KEY)
    api.patch(f"/users/{first.json['id']}", {"name": "Countess"})
    assert api.post("/users", ADA, headers=KEY).data == first.data
    api.delete(f"/users/{first.json['id']}")
    assert api.post("/users", ADA, headers=KEY).data == first.data
    assert api.list_users() == []


@pytest.mark.parametrize(
    "other",
    [
        {**ADA, "name": "Bob"},
        {**ADA, "attributes": {"a": 1.0, "b": [2]}},
        {**ADA, "attributes": {"a": True, "b": [2]}},
        {"username": "ada"},
        {**ADA, "password": "correct horse"},
    ],
)
def test_the_same_key_with_another_body_is_422(api: ApiClient, other: dict[str, Any]) -> None:
    first = api.post("/users", ADA, headers=KEY)
    assert api.post("/users", other, headers=KEY).status_code == 422
    assert api.post("/users", ADA, headers=KEY).data == first.data
    assert len(api.list_users()) == 1


def test_a_body_with_another_password_counts_as_another_body(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    body = {**ADA, "password": "correct horse"}
    first = api.post("/users", body, headers=KEY)
    assert api.post("/users", {**body, "password": "battery staple"}, headers=KEY).status_code == 422
    assert api.post("/users", ADA, headers=KEY).status_code == 422
    assert api.post("/users", body, headers=KEY).data == first.data
    kept = str(database.execute("SELECT * FROM idempotency_keys").fetchall())
    assert "correct horse" not in kept


def test_a_stored_key_has_the_response_and_the_user_id(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any]
) -> None:
    body = {"username": "ada", "name": 'Adä "\\ 田中', "password": "correct horse battery"}
    first = api.post("/users", body, headers={"Idempotency-Key": "k"})
    row = database.execute("SELECT key, fingerprint, password_hash, user_id, body FROM idempotency_keys").fetchone()
    key, fingerprint, kept_hash, user_id, kept = row
    attempt = IdempotentRequest("open k", UserDraft.model_validate(body), timedelta(days=1))
    assert (key, str(user_id), kept) == (attempt.key, first.json["id"], first.data)
    assert fingerprint == attempt.fingerprint
    assert database.execute("SELECT password_hash FROM users").fetchone() == (kept_hash,)
    with app.app_context():
        assert passwords.verify_nullable(body["password"], kept_hash)


def test_a_failed_post_may_be_repeated_with_the_same_key(api: ApiClient) -> None:
    other = api.create_user(username="ada")
    assert api.post("/users", ADA, headers=KEY).status_code == 409
    assert api.post("/users", {**ADA, "role": "king"}, headers=KEY).status_code == 422
    api.delete(f"/users/{other['id']}")
    assert api.post("/users", ADA, headers=KEY).status_code == 201


def test_a_key_is_forgotten_after_24_hours(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    first = api.post("/users", ADA, headers=KEY)
    database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '23 hours 59 minutes'")
    assert api.post("/users", ADA, headers=KEY).data == first.data
    database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '2 minutes'")
    assert api.post("/users", ADA, headers=KEY).status_code == 409
    again = api.post("/users", {"username": "bob"}, headers=KEY)
    assert again.status_code == 201
    assert api.post("/users", {"username": "bob"}, headers=KEY).data == again.data


def test_old_keys_are_deleted(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    for number in range(5):
        api.post("/users", {"username": f"u{number}"}, headers={"Idempotency-Key": f"k{number}"})
    database.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
    api.post("/users", ADA, headers=KEY)
    assert database.execute("SELECT key FROM idempotency_keys").fetchall() == [(f"open {KEY['Idempotency-Key']}",)]


def test_old_keys_are_deleted_in_batches_oldest_first(api: ApiClient, database: psycopg.Connection[Any]) -> None:
    database.execute(
        "INSERT INTO idempotency_keys (key, fingerprint, user_id, body, created_at)"
        " SELECT 'old' || n, '', gen_random_uuid(), '', now() - interval '25 hours' - n * interval '1 minute'"
        " FROM generate_series(1, 50) AS n"
    )
    api.post("/users", {"username": "ada"}, headers={"Idempotency-Key": "k"})
    left = {key for (key,) in database.execute("SELECT key FROM idempotency_keys").fetchall()}
    assert left == {"open k", *(f"old{n}" for n in range(1, 31))}
    api.post("/users", {"username": "ada"}, headers={"Idempotency-Key": "k"})
    assert database.execute("SELECT count(*) FROM idempotency_keys").fetchone() == (11,)


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "a\tb"])
def test_an_invalid_idempotency_key_is_400(api: ApiClient, key: str) -> None:
    assert api.post("/users", ADA, headers={"Idempotency-Key": key}).status_code == 400
    assert api.list_users() == []


def test_two_keys_create_two_users(api: ApiClient) -> None:
    api.post("/users", {"username": "a"}, headers={"Idempotency-Key": "k"})
    api.post("/users", {"username": "b"}, headers={"Idempotency-Key": "K"})
    assert len(api.list_users()) == 2


def test_an_idempotency_key_belongs_to_its_sender(secured_app: SecuredApp) -> None:
    """Two clients that both begin with the key `1` each make their own user, and see no one else's."""
    ada, bob = secured_app.create_user("admin"), secured_app.create_user("editor")
    clients = [
        secured_app.token_client(ada),
        secured_app.token_client(ada),
        secured_app.token_client(bob),
        secured_app.session_client(ada),
        secured_app.session_client(bob),
    ]
    made = [client.post("/users", {"username": f"by-{n}"}, headers=KEY) for n, client in enumerate(clients)]
    assert [(response.status_code, response.json["username"]) for response in made] == [
        (201, f"by-{n}") for n in range(len(clients))
    ]
    for n, client in enumerate(clients):
        again = client.post("/users", {"username": f"by-{n}"}, headers=KEY)
        assert (again.data, again.headers["Idempotent-Replayed"]) == (made[n].data, "true")
        assert client.post("/users", {"username": "another"}, headers=KEY).status_code == 422
    # Another session of the same user is no other client: a browser that was signed out may try again.
    assert secured_app.session_client(bob).post("/users", {"username": "by-4"}, headers=KEY).data == made[4].data


def test_idempotency_keys_of_setup_mode_are_not_shared_with_users(api: ApiClient) -> None:
    """In setup mode all clients share one set of keys, apart from those of users."""
    made = api.post("/users", ADA, headers=KEY)
    assert api.post("/users", ADA, headers=KEY).data == made.data
    secured_app = SecuredApp(api.app)
    assert secured_app.admin.post("/users", {"username": "new"}, headers=KEY).status_code == 201
