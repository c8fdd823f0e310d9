"""Roles: no user gains permissions."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.secured_app import PASSWORD, SecuredApp, UserClient, cookie_of

LADDER = ("member", "viewer", "editor", "admin")


def entries(secured_app: SecuredApp, user: Any) -> list[dict[str, Any]]:
    """The history of a user, newest first."""
    return secured_app.admin.get(f"/users/{user['id']}/history").json


@pytest.fixture(params=["session", "token"])
def make_client(secured_app: SecuredApp, request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], UserClient]:
    """Create a client of a user, by session and by token."""
    return secured_app.session_client if request.param == "session" else secured_app.token_client


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"role": "viewer"}, "role"),
        ({"role": "admin"}, "role"),
        ({"active": False}, "active"),
        ({"username": "other"}, "username"),
        ({"name": "New", "role": "editor", "active": False}, "active, role"),
    ],
)
@pytest.mark.parametrize("role", ["member", "viewer", "editor"])
@pytest.mark.parametrize("path", ["/me", "/users/{id}"])
def test_users_cannot_change_their_own_protected_fields(
    secured_app: SecuredApp, path: str, role: str, fields: dict[str, Any], refused: str
) -> None:
    user = secured_app.create_user(role)
    if fields.get("role") == role:
        fields = {**fields, "role": "admin"}
    response = secured_app.session_client(user).patch(path.format(id=user["id"]), fields)
    assert response.status_code == 403
    assert refused in response.json["detail"]
    assert secured_app.admin.get(f"/users/{user['id']}").json == user


def test_read_only_fields_in_a_body_of_the_own_record_are_ignored(
    secured_app: SecuredApp, make_client: Callable[..., UserClient]
) -> None:
    user = secured_app.create_user(name="Ada")
    given = {**user, "name": "Ada King", "id": str(uuid.uuid4()), "version": 99, "created_at": "2000-01-01T00:00:00Z"}
    for number, response in enumerate(
        [
            make_client(user).put(f"/users/{user['id']}", given),
            make_client(user).patch("/me", {**given, "name": "Ada K."}),
        ]
    ):
        assert response.status_code == 200
        shown = response.json
        assert (shown["id"], shown["version"], shown["created_at"]) == (user["id"], 2 + number, user["created_at"])


def test_a_member_may_put_the_unchanged_own_record(
    secured_app: SecuredApp, make_client: Callable[..., UserClient]
) -> None:
    user = secured_app.create_user("viewer", email="ada@example.org", attributes={"a": 1})
    client = make_client(user)
    mine = client.get("/me").json
    assert client.put(f"/users/{user['id']}", {**mine, "name": "Ada King"}).json["name"] == "Ada King"


@pytest.mark.parametrize(
    ("left_out", "status"),
    # A default that takes something away is a change, too.
    [("username", 403), ("role", 403), ("name", 200), ("email", 200), ("attributes", 200), ("active", 200)],
)
def test_a_put_with_defaults_is_held_to_the_same_rules(secured_app: SecuredApp, left_out: str, status: int) -> None:
    user = secured_app.create_user("viewer", username="ada", email="ada@example.org", name="Ada")
    fields = {name: user[name] for name in ("username", "email", "name", "role", "active", "attributes")}
    del fields[left_out]
    assert secured_app.session_client(user).put(f"/users/{user['id']}", fields).status_code == status


def test_a_put_without_active_is_held_to_the_permission_to_activate(secured_app: SecuredApp) -> None:
    """PUT without `active` would make an inactive viewer active; an editor may do that to a viewer, not to an equal."""
    asleep = secured_app.create_user("editor", username="asleep", active=False)
    editor = secured_app.session_client(secured_app.create_user("editor"))
    assert editor.put(f"/users/{asleep['id']}", {"username": "asleep", "role": "editor"}).status_code == 403


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_put_creates_no_user_without_the_right_to_create(secured_app: SecuredApp, role: str) -> None:
    client = secured_app.session_client(secured_app.create_user(role))
    assert client.put(f"/users/{uuid.uuid4()}", {"username": "new"}).status_code == 403
    assert client.put(f"/users/{uuid.uuid4()}", {"username": "new"}, headers={"If-None-Match": "*"}).status_code == 403


@pytest.mark.parametrize("role", LADDER)
def test_an_editor_makes_only_users_of_a_lower_role(
    secured_app: SecuredApp, make_client: Callable[..., UserClient], role: str
) -> None:
    editor = make_client(secured_app.create_user("editor"))
    expected = 201 if role in ("member", "viewer") else 403
    body = {"username": f"new-{role}", "role": role}
    assert editor.post("/users", body).status_code == expected
    assert editor.post("/users", {**body, "password": "correct horse battery"}).status_code in (403, 409)
    assert editor.put(f"/users/{uuid.uuid4()}", {**body, "username": f"put-{role}"}).status_code == expected


@pytest.mark.parametrize("role", ["editor", "admin"])
def test_an_editor_changes_no_user_of_the_same_or_a_higher_role(
    secured_app: SecuredApp, make_client: Callable[..., UserClient], role: str
) -> None:
    other = secured_app.create_user(role)
    editor, path = make_client(secured_app.create_user("editor")), f"/users/{other['id']}"
    whole = {"username": other["username"], "role": role}
    attempts = [
        editor.patch(path, {"name": "New"}),
        editor.patch(path, {"password": "another horse battery"}),
        editor.patch(path, {"role": "member"}),
        editor.patch(path, {"active": False}),
        editor.patch(path, {}),
        editor.put(path, {**whole, "name": "New"}),
        editor.put(path, {"username": other["username"], "role": "member"}),
        editor.delete(path),
        editor.delete(f"{path}?purge=true"),
        editor.delete(f"{path}/sessions"),
        editor.post(f"{path}/unlock"),
    ]
    assert [response.status_code for response in attempts] == [403] * len(attempts)
    secured_app.admin.delete(path)
    assert editor.post(f"{path}/restore").status_code == 403
    assert [entry["action"] for entry in entries(secured_app, other)] == ["deleted", "created"]


def test_an_editor_assigns_no_role(secured_app: SecuredApp, make_client: Callable[..., UserClient]) -> None:
    user, editor = secured_app.create_user(), make_client(secured_app.create_user("editor"))
    for role in ("viewer", "editor", "admin"):
        assert editor.patch(f"/users/{user['id']}", {"role": role}).status_code == 403
    assert editor.put(f"/users/{user['id']}", {"username": user["username"], "role": "viewer"}).status_code == 403
    assert editor.patch(f"/users/{user['id']}", {"role": "member", "name": "Ada"}).status_code == 200


def test_an_editor_does_not_delete_the_own_record(
    secured_app: SecuredApp, make_client: Callable[..., UserClient]
) -> None:
    editor = secured_app.create_user("editor")
    assert make_client(editor).delete(f"/users/{editor['id']}").status_code == 403


def test_restoring_and_purging_follow_the_table(
    secured_app: SecuredApp, make_client: Callable[..., UserClient]
) -> None:
    user, editor = secured_app.create_user(), make_client(secured_app.create_user("editor"))
    path = f"/users/{user['id']}"
    assert editor.delete(path).status_code == 204
    assert editor.delete(f"{path}?purge=true").status_code == 403
    assert editor.post(f"{path}/restore").status_code == 200
    assert make_client(secured_app.create_user("viewer")).post(f"{path}/restore").status_code == 403
    assert secured_app.admin.delete(f"{path}?purge=true").status_code == 204


def test_a_lowered_role_counts_from_the_next_request(
    secured_app: SecuredApp, make_client: Callable[..., UserClient]
) -> None:
    user = secured_app.create_user("editor")
    client, target = make_client(user), secured_app.create_user()
    assert client.patch(f"/users/{target['id']}", {"name": "One"}).status_code == 200
    secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    if "Cookie" in client.headers:
        client = secured_app.cookie_client(cookie_of(client.get("/me")), user)
    assert client.patch(f"/users/{target['id']}", {"name": "Two"}).status_code == 403
    assert client.get("/users").status_code == 200
    secured_app.admin.patch(f"/users/{user['id']}", {"role": "member"})
    if "Cookie" in client.headers:
        client = secured_app.cookie_client(cookie_of(client.get("/me")), user)
    assert client.get("/users").status_code == 403


def test_a_change_of_role_is_in_the_history_with_its_origin(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    headers = {"User-Agent": "Console/2", "X-Request-ID": "raise-1"}
    secured_app.admin.patch(f"/users/{user['id']}", {"role": "editor"}, headers=headers)
    entry = entries(secured_app, user)[0]
    assert entry["changes"] == [{"field": "role", "old": "member", "new": "editor"}]
    assert entry["actor"] == f"user:{secured_app.admin.id}"
    assert (entry["address"], entry["agent"], entry["request_id"]) == ("127.0.0.1", "Console/2", "raise-1")


def test_a_token_is_named_in_the_history_of_what_it_changes(secured_app: SecuredApp) -> None:
    editor, user = secured_app.create_user("editor"), secured_app.create_user()
    token = secured_app.token(editor)
    secured_app.bearer_client(token["token"]).patch(f"/users/{user['id']}", {"name": "New"})
    assert entries(secured_app, user)[0]["actor"] == f"token:{token['id']} user:{editor['id']}"


def test_signing_in_failing_and_being_locked_are_in_the_history_with_their_origin(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(username="ada", password=PASSWORD)
    agent = {"User-Agent": "Phone/1"}
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}, "192.0.2.9", **agent).status_code == 201
    for _ in range(8):
        secured_app.sign_in({"username": "ada", "password": "wrong"}, "192.0.2.66", **{"User-Agent": "Robot/1"})
    found = [(entry["action"], entry["address"], entry["agent"]) for entry in entries(secured_app, user)[:-1]]
    assert found == [
        ("sign_in_locked", "192.0.2.66", "Robot/1"),
        *[("sign_in_failed", "192.0.2.66", "Robot/1")] * 5,
        ("signed_in", "192.0.2.9", "Phone/1"),
    ]
    actors = [entry["actor"] for entry in entries(secured_app, user)]
    assert actors == [None] * 6 + [f"user:{user['id']}", f"user:{secured_app.admin.id}"]


def test_signing_out_and_ending_sessions_are_in_the_history(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    secured_app.session_client(user).delete("/session")
    secured_app.session_cookie(user)
    session_id = secured_app.admin.get(f"/users/{user['id']}/sessions").json[0]["id"]
    secured_app.admin.delete(f"/users/{user['id']}/sessions/{session_id}")
    secured_app.session_cookie(user)
    secured_app.admin.delete(f"/users/{user['id']}/sessions")
    secured_app.admin.post(f"/users/{user['id']}/unlock")
    found = [(entry["action"], entry["actor"]) for entry in entries(secured_app, user)]
    admin = f"user:{secured_app.admin.id}"
    assert found == [
        ("unlocked", admin),
        ("sessions_ended", admin),
        ("session_ended", admin),
        ("signed_out", f"user:{user['id']}"),
        ("created", admin),
    ]


def test_a_purge_removes_personal_data_from_every_history(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(username="ada", password=PASSWORD)
    secured_app.sign_in({"username": "ada", "password": "wrong"}, "192.0.2.66", **{"User-Agent": "Robot/1"})
    secured_app.token(user)
    secured_app.admin.delete(f"/users/{user['id']}?purge=true")
    text = secured_app.admin.get(f"/users/{user['id']}/history").text
    for trace in ("192.0.2.66", "Robot", "ada", "a program"):
        assert trace not in text
