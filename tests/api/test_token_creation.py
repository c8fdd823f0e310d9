"""Creating API tokens: users, roles, refusals, history."""

import uuid
from typing import Any

import pytest

from tests.support.api_client import ApiClient, error_fields
from tests.support.secured_app import SecuredApp


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": "a\x07"}, "name"),
        ({"name": None}, "name"),
        ({"role": "root"}, "role"),
        ({"role": ["admin"]}, "role"),
        ({"role": None}, "role"),
        ({"user_id": "nobody"}, "user_id"),
        ({"user_id": str(uuid.uuid4())}, "user_id"),
        ({"user_id": {}}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"expires_at": "2000-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": 32503680000}, "expires_at"),
        ({"expires_at": []}, "expires_at"),
        ({"expires_at": ""}, "expires_at"),
        ({"token": "fsa_mine"}, "token"),
        ({"id": str(uuid.uuid4())}, "id"),
        ({"digest": "x"}, "digest"),
        ({"last_used_at": None}, "last_used_at"),
    ],
)
def test_a_faulty_token_is_refused_by_its_field(secured_app: SecuredApp, fields: dict[str, Any], bad: str) -> None:
    response = secured_app.admin.post("/tokens", {"name": "a program", "role": "member", **fields})
    assert response.status_code == 422
    assert error_fields(response) == {bad}
    assert secured_app.admin.get("/tokens").json == []


def test_a_token_is_never_above_its_user(secured_app: SecuredApp) -> None:
    user = secured_app.create_user("viewer")
    response = secured_app.admin.post("/tokens", {"name": "up", "role": "editor", "user_id": user["id"]})
    assert response.status_code == 422
    assert error_fields(response) == {"role"}


@pytest.mark.parametrize("state", ["inactive", "deleted"])
def test_a_user_who_may_not_sign_in_gets_no_token(secured_app: SecuredApp, state: str) -> None:
    user = secured_app.create_user(active=state != "inactive")
    if state == "deleted":
        secured_app.admin.delete(f"/users/{user['id']}")
    response = secured_app.admin.post("/tokens", {"name": "x", "role": "member", "user_id": user["id"]})
    assert response.status_code == 422
    assert error_fields(response) == {"user_id"}


def test_a_token_is_for_oneself_unless_told_otherwise(secured_app: SecuredApp) -> None:
    made = secured_app.admin.post("/tokens", {"name": "mine", "role": "viewer"})
    assert made.json["user_id"] == secured_app.admin.id
    assert made.headers["Location"] == f"/api/tokens/{made.json['id']}"
    assert made.headers["Cache-Control"] == "no-store"
    # A token makes tokens as its user does, and no others.
    admin = secured_app.token_client(secured_app.admin.user)
    assert admin.post("/tokens", {"name": "x", "role": "admin"}).json["user_id"] == secured_app.admin.id


def test_in_setup_mode_a_token_needs_a_user(api: ApiClient) -> None:
    response = api.post("/tokens", {"name": "x", "role": "member"})
    assert response.status_code == 422
    assert error_fields(response) == {"user_id"}
    user = api.create_user()
    made = api.post("/tokens", {"name": "x", "role": "member", "user_id": user["id"]})
    assert made.status_code == 201
    # It identifies the user; setup mode requires no token yet.
    me = api.get("/session", headers={"Authorization": f"Bearer {made.json['token']}"}).json
    assert (me["kind"], me["user"]["id"]) == ("token", user["id"])


def test_tokens_are_in_the_history_of_their_user(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    token = secured_app.token(user, name="Grafana")
    secured_app.admin.delete(f"/tokens/{token['id']}")
    shown = {"id": token["id"], "name": "Grafana", "role": "member"}
    revoked, created, _ = secured_app.admin.get(f"/users/{user['id']}/history").json
    assert (created["action"], created["actor"]) == ("token_created", f"user:{secured_app.admin.id}")
    assert created["changes"] == [{"field": "token", "old": None, "new": shown}]
    assert revoked["action"] == "token_revoked"
    assert revoked["changes"] == [{"field": "token", "old": shown, "new": None}]


def test_tokens_that_end_with_their_user_are_in_the_history(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    secured_app.token(user)
    secured_app.token(user)
    secured_app.admin.patch(f"/users/{user['id']}", {"active": False})
    entries = secured_app.admin.get(f"/users/{user['id']}/history").json
    created = [("token_created", 1)] * 2 + [("created", 1)]
    shown = [(entry["action"], entry["version"]) for entry in entries]
    assert shown == [("token_revoked", 2)] * 2 + [("changed", 2), *created]


@pytest.mark.parametrize("token_id", ["nobody", "0", "%00", "x" * 5000, str(uuid.UUID(int=7)), "{{}}"])
def test_a_token_that_is_not_there_is_not_found(secured_app: SecuredApp, token_id: str) -> None:
    assert secured_app.admin.delete(f"/tokens/{token_id}").status_code == 404
