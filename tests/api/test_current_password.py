"""Fault 5: a session was as good as the password. To change how one signs in takes the password, or a fresh sign-in."""

from collections.abc import Callable
from typing import Any

import pytest

from app.auth import passwords
from tests.support.api_client import faulty
from tests.support.console_client import send, version
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient, cookie_of

pytestmark = pytest.mark.usefixtures("impatient")

NEW = "another horse battery"
OLD_S = 301.0
WAYS = ("patch /me", "patch /users/{id}", "put /users/{id}")
CHANGES: tuple[dict[str, Any], ...] = ({"email": "new@example.org"}, {"email": None}, {"password": NEW})
ROLES = ("member", "viewer", "editor", "admin")


def ada(house: SecuredApp, role: str = "member") -> dict[str, Any]:
    return house.make(role, username="ada", email="ada@example.org", password=PASSWORD)


def change(who: UserClient, way: str, fields: dict[str, Any]) -> Any:
    method, path = way.format(id=who.id).split()
    return who.patch(path, fields) if method == "patch" else who.put(path, {**who.user, **fields})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", CHANGES, ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_it_takes_the_current_password(house: SecuredApp, role: str, fields: dict[str, Any], way: str) -> None:
    user = ada(house, role)
    who = house.by_session(user, OLD_S)
    for given in ({}, {"current_password": None}, {"current_password": "not the password"}, {"current_password": ""}):
        answer = change(who, way, {**fields, **given})
        assert answer.status_code == 403, answer.text
        assert faulty(answer) == {"current_password"}
    assert house.admin.get(f"/users/{user['id']}").json == user
    assert change(who, way, {**fields, "current_password": PASSWORD}).status_code == 200
    login = {"username": "ada", "password": fields.get("password", PASSWORD)}
    assert house.sign_in(login).json["user"]["email"] == fields.get("email", "ada@example.org")


@pytest.mark.parametrize("way", WAYS)
def test_an_administrators_own_username_takes_it_too(house: SecuredApp, way: str) -> None:
    who = house.by_session(ada(house, "admin"), OLD_S)
    assert faulty(change(who, way, {"username": "boss"})) == {"current_password"}
    assert change(who, way, {"username": "boss", "current_password": PASSWORD}).json["username"] == "boss"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", CHANGES, ids=str)
def test_soon_after_signing_in_nobody_is_asked_again(house: SecuredApp, fields: dict[str, Any], way: str) -> None:
    user = ada(house)
    wrong = change(house.by_session(user), way, {**fields, "current_password": "not the password"})
    assert (wrong.status_code, faulty(wrong)) == (403, {"current_password"})
    signed_in = house.sign_in({"username": "ada", "password": PASSWORD})
    assert change(house.by_cookie(cookie_of(signed_in), user), way, fields).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_sign_in_field_takes_no_password(house: SecuredApp, way: str) -> None:
    user = ada(house)
    who = house.by_session(user, OLD_S)
    for fields in (
        {"name": "Ada King"},
        # A browser may fill an old one in by itself.
        {"name": "Ada", "current_password": "not the password"},
        {"email": "ada@example.org"},
        {"email": "ada@example.org", "username": "ada"},
    ):
        assert change(who, way, fields).status_code == 200, fields


def test_what_others_are_given_takes_no_password(house: SecuredApp) -> None:
    user = ada(house)
    for role in ("editor", "admin"):
        who = house.by_session(house.make(role), OLD_S)
        for fields in ({"email": f"{role}@example.org"}, {"password": NEW, "current_password": "whatever"}):
            assert who.patch(f"/users/{user['id']}", fields).status_code == 200


def test_a_new_id_of_a_session_is_no_sign_in(house: SecuredApp) -> None:
    user = ada(house)
    who = house.by_session(user, OLD_S)
    house.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    renewed = house.by_cookie(cookie_of(who.get("/me")), user)
    assert faulty(renewed.patch("/me", {"email": "new@example.org"})) == {"current_password"}
    assert renewed.patch("/me", {"email": "new@example.org", "current_password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_guesses_of_it_are_counted(house: SecuredApp, way: str) -> None:
    user = ada(house)
    who = house.by_session(user, OLD_S)
    guess = {"email": "new@example.org", "current_password": "not the password"}
    assert [change(who, way, guess).status_code for _ in range(7)] == [403] * 5 + [429] * 2
    right = {**guess, "current_password": PASSWORD}
    assert change(who, way, right).status_code == 429
    assert who.put("/me/password", {"current_password": PASSWORD, "new_password": NEW}).status_code == 429
    assert [one["action"] for one in house.admin.get(f"/users/{user['id']}/history").json] == [
        *["sign_in_failed"] * 5,
        "created",
    ]
    house.admin.post(f"/users/{user['id']}/unlock")
    assert change(who, way, right).status_code == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ROLES)
def test_a_token_does_not_change_how_its_user_signs_in(house: SecuredApp, role: str, way: str) -> None:
    user = ada(house, role)
    program = house.by_token(user)
    fields = [*CHANGES, *([{"username": "boss"}] if role == "admin" else [])]
    for one in fields:
        for given in ({}, {"current_password": PASSWORD}, {"current_password": "not the password"}):
            # The second time its token and its record are known.
            for _ in range(2):
                answer = change(program, way, {**one, **given})
                assert (answer.status_code, faulty(answer)) == (403, set(one)), answer.text
                assert "token" in answer.json["detail"]
    assert change(program, way, {"name": "Ada King"}).status_code == 200
    assert "sign_in_failed" not in house.admin.get(f"/users/{user['id']}/history").text


@pytest.mark.parametrize("role", ROLES)
def test_a_token_does_not_replace_the_password_it_knows(house: SecuredApp, role: str) -> None:
    user = ada(house, role)
    body = {"current_password": PASSWORD, "new_password": NEW}
    for of in ROLES[: ROLES.index(role) + 1]:
        program = house.by_token(user, of)
        answer = program.put("/me/password", body)
        assert answer.status_code == 403
        form = program.flask_client.post("/password", data=body, headers=program.headers)
        assert form.status_code == 422
        for way in WAYS:
            assert change(program, way, {"password": NEW}).status_code == 403
    assert house.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201


def test_a_token_changes_how_others_sign_in(house: SecuredApp) -> None:
    user = ada(house)
    for role in ("editor", "admin"):
        program = house.by_token(house.make(role))
        assert program.patch(f"/users/{user['id']}", {"email": f"{role}@example.org"}).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_who_knew_the_old_password_does_not_overwrite_the_reset(house: SecuredApp, monkeypatch: Any, way: str) -> None:
    user, verified = ada(house), passwords.verify
    thief = house.by_session(user, OLD_S)

    def overtaken(offered: str, kept: str | None) -> bool:
        monkeypatch.setattr(passwords, "verify", verified)
        house.admin.patch(f"/users/{user['id']}", {"password": NEW})
        return verified(offered, kept)

    monkeypatch.setattr(passwords, "verify", overtaken)
    fields = {"email": "thief@example.org", "current_password": PASSWORD}
    assert change(thief, way, fields).status_code == 412
    assert house.admin.get(f"/users/{user['id']}").json["email"] == "ada@example.org"


def test_it_is_neither_kept_nor_shown(house: SecuredApp) -> None:
    user = ada(house)
    who = house.by_session(user, OLD_S)
    answer = who.patch("/me", {"email": "new@example.org", "current_password": PASSWORD})
    assert PASSWORD not in answer.text
    assert PASSWORD not in house.admin.get(f"/users/{user['id']}/history").text
    assert house.admin.get(f"/users/{user['id']}/history").json[0]["changes"] == [
        {"field": "email", "old": "ada@example.org", "new": "new@example.org"}
    ]


def test_it_is_declared_where_it_counts_and_nowhere_else(house: SecuredApp) -> None:
    schemas = house.nobody.get("/openapi.json").json["components"]["schemas"]
    for name in ("UserPatch", "UserReplacement", "PasswordChange"):
        assert schemas[name]["properties"]["current_password"]["writeOnly"] is True
        assert ("current_password" in schemas[name].get("required", [])) == (name == "PasswordChange")
    assert "current_password" not in schemas["UserDraft"]["properties"]
    assert faulty(house.admin.post("/users", {"username": "new", "current_password": PASSWORD})) == {"current_password"}
    who = house.by_session(ada(house))
    assert faulty(who.patch("/me", {"name": "Ada", "current_password": 7})) == {"current_password"}
    assert faulty(who.patch("/me", {"name": "Ada", "current_password": "x" * 1025})) == {"current_password"}


@pytest.mark.parametrize("role", ["member", "admin"])
def test_the_own_page_asks_for_it_when_the_sign_in_is_old(house: SecuredApp, role: str) -> None:
    user = ada(house, role)
    own = f"/people/{user['id']}"
    fresh, old = house.by_session(user), house.by_session(user, OLD_S)
    assert 'name="current_password"' not in fresh.flask_client.get(own, headers=fresh.headers).text

    def save(**form: str) -> Any:
        return old.flask_client.post(own, data={"name": "Ada", "version": "1", **form}, headers=old.headers)

    page = old.flask_client.get(own, headers=old.headers).text
    assert 'name="current_password"' in page
    for given in ({}, {"current_password": ""}, {"current_password": "not the password"}):
        answer = save(email="new@example.org", **given)
        assert answer.status_code == 403
        assert 'value="new@example.org"' in answer.text
        assert 'aria-describedby="current_password-note" aria-invalid="true"' in answer.text
        assert "not the password" not in answer.text
    assert house.admin.get(f"/users/{user['id']}").json == user
    assert save(email="new@example.org", current_password=PASSWORD).status_code == 303
    assert house.admin.get(f"/users/{user['id']}").json["email"] == "new@example.org"
    assert 'name="current_password"' not in house.admin.flask_client.get(own, headers=house.admin.headers).text


def test_the_own_page_says_so_in_french(house: SecuredApp) -> None:
    old = house.by_session(ada(house), OLD_S)
    french = {**old.headers, "Accept-Language": "fr"}
    own = f"/people/{old.id}"
    assert "Mot de passe actuel" in old.flask_client.get(own, headers=french).text
    answer = old.flask_client.post(own, data={"email": "new@example.org", "version": "1"}, headers=french)
    assert (
        "Pour modifier votre identifiant, e-mail ou mot de passe, saisissez votre mot de passe actuel, sauf si"
        in answer.text
    )
    assert "Est nécessaire pour modifier votre propre identifiant, adresse e-mail ou mot de passe" in answer.text


def test_a_form_of_the_own_page_that_guesses_is_slowed_down(house: SecuredApp) -> None:
    old = house.by_session(ada(house), OLD_S)
    form = {"email": "new@example.org", "version": "1", "current_password": "not the password"}
    own = f"/people/{old.id}"
    found = [old.flask_client.post(own, data=form, headers=old.headers) for _ in range(6)]
    assert [answer.status_code for answer in found] == [403] * 5 + [429]
    assert 'value="new@example.org"' in found[-1].text


def test_whoever_fills_an_open_service_is_asked_for_nothing(api: Any) -> None:
    user = api.make(username="ada", email="ada@example.org", password=PASSWORD)
    for fields in CHANGES:
        assert api.patch(f"/users/{user['id']}", fields).status_code == 200
        assert api.put(f"/users/{user['id']}", {**user, **fields}).status_code == 200


def test_a_session_that_ended_does_not_keep_it_in_the_form(sign_in: Callable[[str], Any]) -> None:
    member = sign_in("member")
    own = member.get("/profile").location
    form = {"name": "Typed", "version": version(member, own), "current_password": PASSWORD}
    member.delete("/api/session", headers={"Origin": "http://localhost"})
    asked = send(member, own, **form)
    assert asked.status_code == 401
    assert "Typed" in asked.text
    assert PASSWORD not in asked.text.replace("+", " ").replace("%20", " ")
