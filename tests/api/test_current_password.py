"""A change of sign-in fields requires the current password or a recent sign-in."""

from collections.abc import Callable
from typing import Any

import pytest

from app.auth import passwords
from tests.support.api_client import error_fields
from tests.support.console_client import send, version_of
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient, cookie_of

pytestmark = pytest.mark.usefixtures("without_refusal_delay")

NEW = "another horse battery"
OLD_S = 301.0
WAYS = ("patch /me", "patch /users/{id}", "put /users/{id}")
CHANGES: tuple[dict[str, Any], ...] = ({"email": "new@example.org"}, {"email": None}, {"password": NEW})
ROLES = ("member", "viewer", "editor", "admin")


def ada(secured_app: SecuredApp, role: str = "member") -> dict[str, Any]:
    return secured_app.create_user(role, username="ada", email="ada@example.org", password=PASSWORD)


def change(client: UserClient, way: str, fields: dict[str, Any]) -> Any:
    method, path = way.format(id=client.id).split()
    return client.patch(path, fields) if method == "patch" else client.put(path, {**client.user, **fields})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", CHANGES, ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_a_change_of_sign_in_fields_requires_the_current_password(
    secured_app: SecuredApp, role: str, fields: dict[str, Any], way: str
) -> None:
    user = ada(secured_app, role)
    client = secured_app.session_client(user, OLD_S)
    for given in ({}, {"current_password": None}, {"current_password": "not the password"}, {"current_password": ""}):
        response = change(client, way, {**fields, **given})
        assert response.status_code == 403, response.text
        assert error_fields(response) == {"current_password"}
    assert secured_app.admin.get(f"/users/{user['id']}").json == user
    assert change(client, way, {**fields, "current_password": PASSWORD}).status_code == 200
    login = {"username": "ada", "password": fields.get("password", PASSWORD)}
    assert secured_app.sign_in(login).json["user"]["email"] == fields.get("email", "ada@example.org")


@pytest.mark.parametrize("way", WAYS)
def test_an_administrator_needs_the_current_password_for_the_own_username(secured_app: SecuredApp, way: str) -> None:
    client = secured_app.session_client(ada(secured_app, "admin"), OLD_S)
    assert error_fields(change(client, way, {"username": "boss"})) == {"current_password"}
    assert change(client, way, {"username": "boss", "current_password": PASSWORD}).json["username"] == "boss"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", CHANGES, ids=str)
def test_soon_after_sign_in_no_password_is_required(secured_app: SecuredApp, fields: dict[str, Any], way: str) -> None:
    user = ada(secured_app)
    wrong = change(secured_app.session_client(user), way, {**fields, "current_password": "not the password"})
    assert (wrong.status_code, error_fields(wrong)) == (403, {"current_password"})
    signed_in = secured_app.sign_in({"username": "ada", "password": PASSWORD})
    assert change(secured_app.cookie_client(cookie_of(signed_in), user), way, fields).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_other_fields_require_no_password(secured_app: SecuredApp, way: str) -> None:
    user = ada(secured_app)
    client = secured_app.session_client(user, OLD_S)
    for fields in (
        {"name": "Ada King"},
        # A browser may fill an old one in by itself.
        {"name": "Ada", "current_password": "not the password"},
        {"email": "ada@example.org"},
        {"email": "ada@example.org", "username": "ada"},
    ):
        assert change(client, way, fields).status_code == 200, fields


def test_changes_of_other_users_require_no_password(secured_app: SecuredApp) -> None:
    user = ada(secured_app)
    for role in ("editor", "admin"):
        client = secured_app.session_client(secured_app.create_user(role), OLD_S)
        for fields in ({"email": f"{role}@example.org"}, {"password": NEW, "current_password": "whatever"}):
            assert client.patch(f"/users/{user['id']}", fields).status_code == 200


def test_a_new_session_id_does_not_count_as_a_sign_in(secured_app: SecuredApp) -> None:
    user = ada(secured_app)
    client = secured_app.session_client(user, OLD_S)
    secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    renewed = secured_app.cookie_client(cookie_of(client.get("/me")), user)
    assert error_fields(renewed.patch("/me", {"email": "new@example.org"})) == {"current_password"}
    assert renewed.patch("/me", {"email": "new@example.org", "current_password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_wrong_current_passwords_are_counted(secured_app: SecuredApp, way: str) -> None:
    user = ada(secured_app)
    client = secured_app.session_client(user, OLD_S)
    guess = {"email": "new@example.org", "current_password": "not the password"}
    assert [change(client, way, guess).status_code for _ in range(7)] == [403] * 5 + [429] * 2
    right = {**guess, "current_password": PASSWORD}
    assert change(client, way, right).status_code == 429
    assert client.put("/me/password", {"current_password": PASSWORD, "new_password": NEW}).status_code == 429
    assert [one["action"] for one in secured_app.admin.get(f"/users/{user['id']}/history").json] == [
        *["sign_in_failed"] * 5,
        "created",
    ]
    secured_app.admin.post(f"/users/{user['id']}/unlock")
    assert change(client, way, right).status_code == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ROLES)
def test_a_token_does_not_change_how_its_user_signs_in(secured_app: SecuredApp, role: str, way: str) -> None:
    user = ada(secured_app, role)
    program = secured_app.token_client(user)
    fields = [*CHANGES, *([{"username": "boss"}] if role == "admin" else [])]
    for one in fields:
        for given in ({}, {"current_password": PASSWORD}, {"current_password": "not the password"}):
            # The second time its token and its record are known.
            for _ in range(2):
                response = change(program, way, {**one, **given})
                assert (response.status_code, error_fields(response)) == (403, set(one)), response.text
                assert "token" in response.json["detail"]
    assert change(program, way, {"name": "Ada King"}).status_code == 200
    assert "sign_in_failed" not in secured_app.admin.get(f"/users/{user['id']}/history").text


@pytest.mark.parametrize("role", ROLES)
def test_a_token_does_not_replace_the_password_it_knows(secured_app: SecuredApp, role: str) -> None:
    user = ada(secured_app, role)
    body = {"current_password": PASSWORD, "new_password": NEW}
    for of in ROLES[: ROLES.index(role) + 1]:
        program = secured_app.token_client(user, of)
        response = program.put("/me/password", body)
        assert response.status_code == 403
        form = program.flask_client.post("/password", data=body, headers=program.headers)
        assert form.status_code == 403
        for way in WAYS:
            assert change(program, way, {"password": NEW}).status_code == 403
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201


def test_a_token_changes_how_others_sign_in(secured_app: SecuredApp) -> None:
    user = ada(secured_app)
    for role in ("editor", "admin"):
        program = secured_app.token_client(secured_app.create_user(role))
        assert program.patch(f"/users/{user['id']}", {"email": f"{role}@example.org"}).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_knowing_the_old_password_does_not_overwrite_a_reset(
    secured_app: SecuredApp, monkeypatch: Any, way: str
) -> None:
    user, verified = ada(secured_app), passwords.verify
    thief = secured_app.session_client(user, OLD_S)

    def overtaken(offered: str, kept: str | None) -> bool:
        monkeypatch.setattr(passwords, "verify", verified)
        secured_app.admin.patch(f"/users/{user['id']}", {"password": NEW})
        return verified(offered, kept)

    monkeypatch.setattr(passwords, "verify", overtaken)
    fields = {"email": "thief@example.org", "current_password": PASSWORD}
    assert change(thief, way, fields).status_code == 412
    assert secured_app.admin.get(f"/users/{user['id']}").json["email"] == "ada@example.org"


def test_the_current_password_is_neither_stored_nor_returned(secured_app: SecuredApp) -> None:
    user = ada(secured_app)
    client = secured_app.session_client(user, OLD_S)
    response = client.patch("/me", {"email": "new@example.org", "current_password": PASSWORD})
    assert PASSWORD not in response.text
    assert PASSWORD not in secured_app.admin.get(f"/users/{user['id']}/history").text
    assert secured_app.admin.get(f"/users/{user['id']}/history").json[0]["changes"] == [
        {"field": "email", "old": "ada@example.org", "new": "new@example.org"}
    ]


def test_only_the_concerned_operations_declare_the_current_password(secured_app: SecuredApp) -> None:
    schemas = secured_app.anonymous.get("/openapi.json").json["components"]["schemas"]
    for name in ("UserPatch", "UserReplacement", "PasswordChange"):
        assert schemas[name]["properties"]["current_password"]["writeOnly"] is True
        assert ("current_password" in schemas[name].get("required", [])) == (name == "PasswordChange")
    assert "current_password" not in schemas["UserDraft"]["properties"]
    assert error_fields(secured_app.admin.post("/users", {"username": "new", "current_password": PASSWORD})) == {
        "current_password"
    }
    client = secured_app.session_client(ada(secured_app))
    assert error_fields(client.patch("/me", {"name": "Ada", "current_password": 7})) == {"current_password"}
    assert error_fields(client.patch("/me", {"name": "Ada", "current_password": "x" * 1025})) == {"current_password"}


@pytest.mark.parametrize("role", ["member", "admin"])
def test_the_own_page_asks_for_it_when_the_sign_in_is_old(secured_app: SecuredApp, role: str) -> None:
    user = ada(secured_app, role)
    own = f"/people/{user['id']}"
    fresh, old = secured_app.session_client(user), secured_app.session_client(user, OLD_S)
    assert 'name="current_password"' not in fresh.flask_client.get(own, headers=fresh.headers).text

    def save(**form: str) -> Any:
        return old.flask_client.post(own, data={"name": "Ada", "version": "1", **form}, headers=old.headers)

    page = old.flask_client.get(own, headers=old.headers).text
    assert 'name="current_password"' in page
    for given in ({}, {"current_password": ""}, {"current_password": "not the password"}):
        response = save(email="new@example.org", **given)
        assert response.status_code == 403
        assert 'value="new@example.org"' in response.text
        assert 'aria-describedby="current_password-note" aria-invalid="true"' in response.text
        assert "not the password" not in response.text
    assert secured_app.admin.get(f"/users/{user['id']}").json == user
    assert save(email="new@example.org", current_password=PASSWORD).status_code == 303
    assert secured_app.admin.get(f"/users/{user['id']}").json["email"] == "new@example.org"
    assert (
        'name="current_password"' not in secured_app.admin.flask_client.get(own, headers=secured_app.admin.headers).text
    )


def test_the_own_page_says_so_in_french(secured_app: SecuredApp) -> None:
    old = secured_app.session_client(ada(secured_app), OLD_S)
    french = {**old.headers, "Accept-Language": "fr"}
    own = f"/people/{old.id}"
    assert "Mot de passe actuel" in old.flask_client.get(own, headers=french).text
    response = old.flask_client.post(own, data={"email": "new@example.org", "version": "1"}, headers=french)
    assert (
        "Pour modifier votre identifiant, e-mail ou mot de passe, saisissez votre mot de passe actuel, sauf si"
        in response.text
    )
    assert "Est nécessaire pour modifier votre propre identifiant, adresse e-mail ou mot de passe" in response.text


def test_a_form_of_the_own_page_that_guesses_is_slowed_down(secured_app: SecuredApp) -> None:
    old = secured_app.session_client(ada(secured_app), OLD_S)
    form = {"email": "new@example.org", "version": "1", "current_password": "not the password"}
    own = f"/people/{old.id}"
    found = [old.flask_client.post(own, data=form, headers=old.headers) for _ in range(6)]
    assert [response.status_code for response in found] == [403] * 5 + [429]
    assert 'value="new@example.org"' in found[-1].text


def test_in_setup_mode_no_current_password_is_required(api: Any) -> None:
    user = api.create_user(username="ada", email="ada@example.org", password=PASSWORD)
    for fields in CHANGES:
        assert api.patch(f"/users/{user['id']}", fields).status_code == 200
        assert api.put(f"/users/{user['id']}", {**user, **fields}).status_code == 200


def test_a_form_of_an_ended_session_does_not_keep_the_current_password(sign_in: Callable[[str], Any]) -> None:
    member = sign_in("member")
    own = member.get("/profile").location
    form = {"name": "Typed", "version": version_of(member, own), "current_password": PASSWORD}
    member.delete("/api/session", headers={"Origin": "http://localhost"})
    asked = send(member, own, **form)
    assert asked.status_code == 401
    assert "Typed" in asked.text
    assert PASSWORD not in asked.text.replace("+", " ").replace("%20", " ")
