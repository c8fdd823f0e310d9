"""Users change only those attributes of their own that a setting names."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.api_client import error_fields
from tests.support.console_client import send, version_of
from tests.support.secured_app import SecuredApp, UserClient

HAS: dict[str, Any] = {"plan": "free", "city": "Paris", "seats": {"paid": 1}, "a.b": None}
WAYS = ("patch /me", "patch /users/{id}", "put /users/{id}")


@pytest.fixture(params=["session", "token"])
def make_client(secured_app: SecuredApp, request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], UserClient]:
    """Create a client of a user, by session and by token."""
    return secured_app.session_client if request.param == "session" else secured_app.token_client


@pytest.fixture
def own_attributes_app(make_app: Callable[..., Flask], empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - called for its effect
    """An application whose users may change two of their own attributes."""
    return SecuredApp(make_app(self_editable_attributes=" city ,a.b,, "))


def change(client: UserClient, way: str, attributes: Any) -> Any:
    """Set attributes: all of them by PUT, or as a merge patch by PATCH."""
    method, path = way.format(id=client.id).split()
    if method == "patch":
        return client.patch(path, {"attributes": attributes})
    whole = {**HAS, **(attributes or {})} if attributes else {}
    return client.put(
        path, {**client.user, "attributes": {key: value for key, value in whole.items() if value is not None}}
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["member", "viewer", "editor"])
def test_no_own_attribute_is_changed_by_default(
    secured_app: SecuredApp, make_client: Callable[[dict[str, Any]], UserClient], role: str, way: str
) -> None:
    user = secured_app.create_user(role, attributes={key: value for key, value in HAS.items() if value is not None})
    client = make_client(user)
    for attributes, named in (
        ({"plan": "pro"}, {"attributes.plan"}),
        ({"plan": None}, {"attributes.plan"}),
        ({"seats": {"paid": 99}}, {"attributes.seats"}),
        ({"seats": 1}, {"attributes.seats"}),
        ({"more": True, "Plan": "pro"}, {"attributes.more", "attributes.Plan"}),
        ({"city": "Lyon", "plan": "team"}, {"attributes.city", "attributes.plan"}),
        (None, {"attributes.plan", "attributes.city", "attributes.seats"}),
    ):
        # The second time its token and its record are known.
        for _ in range(2):
            response = change(client, way, attributes)
            assert response.status_code == 403, response.text
            assert error_fields(response) == named
            assert all(field in response.json["detail"] for field in named)
    assert change(client, way, {"plan": "free"}).status_code == 200
    assert secured_app.admin.get(f"/users/{user['id']}").json == user


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["member", "viewer", "editor"])
def test_users_change_the_own_attributes_that_the_setting_names(
    own_attributes_app: SecuredApp, role: str, way: str
) -> None:
    user = own_attributes_app.create_user(
        role, attributes={key: value for key, value in HAS.items() if value is not None}
    )
    for make_client in (own_attributes_app.session_client, own_attributes_app.token_client):
        client = make_client(user)
        for attributes in ({"city": "Lyon"}, {"city": {"at": [1]}, "a.b": 1}, {"city": None, "a.b": None}):
            response = change(client, way, attributes)
            assert response.status_code == 200, response.text
            client.user = response.json
        for attributes in ({"city": "Lyon", "plan": "pro"}, {"a": {"b": 1}, "city": "Lyon"}, {" city ": 1}):
            response = change(client, way, attributes)
            assert response.status_code == 403
            assert error_fields(response) == {f"attributes.{key}" for key in attributes} - {"attributes.city"}
        assert own_attributes_app.admin.get(f"/users/{user['id']}").json["attributes"] == {
            "plan": "free",
            "seats": {"paid": 1},
        }


def test_editors_and_administrators_change_attributes_of_other_users(
    secured_app: SecuredApp, make_client: Callable[[dict[str, Any]], UserClient]
) -> None:
    """Editors change users of a lower role, administrators all users and themselves."""
    for role, other in (("editor", "member"), ("editor", "viewer"), ("admin", "editor"), ("admin", "admin")):
        user = secured_app.create_user(other)
        response = make_client(secured_app.create_user(role)).patch(
            f"/users/{user['id']}", {"attributes": {"plan": "pro"}}
        )
        assert (response.status_code, response.json["attributes"]) == (200, {"plan": "pro"})
    admin = make_client(secured_app.create_user("admin"))
    assert admin.patch("/me", {"attributes": {"plan": "pro"}}).json["attributes"] == {"plan": "pro"}


def test_an_administrators_token_of_a_lower_role_is_held_to_the_rule(secured_app: SecuredApp) -> None:
    user = secured_app.create_user("admin")
    for role in ("member", "viewer", "editor"):
        program = secured_app.token_client(user, role)
        for path in ("/me", f"/users/{user['id']}"):
            assert program.patch(path, {"attributes": {"plan": "pro"}}).status_code == 403


@pytest.mark.parametrize("role", ["member", "viewer", "editor"])
def test_the_own_page_shows_attributes_and_takes_no_change(sign_in: Callable[[str], FlaskClient], role: str) -> None:
    browser = sign_in(role)
    own = browser.get("/profile").location
    assert 'name="attributes"' not in browser.get(own).text
    forged = {"name": "Mallory", "attributes": '{"plan": "pro"}', "version": version_of(browser, own)}
    response = send(browser, own, **forged)
    assert response.status_code == 403
    assert "attributes.plan" in response.text
    me = browser.get("/api/me").json
    assert (me["attributes"], me["version"]) == ({}, 1)
    del forged["attributes"]
    assert send(browser, own, **forged).status_code == 303
    assert browser.get("/api/me").json["name"] == "Mallory"


def test_the_own_page_offers_what_the_setting_names(own_attributes_app: SecuredApp) -> None:
    client = own_attributes_app.session_client(own_attributes_app.create_user(attributes={"plan": "free"}))
    browser, headers, own = client.flask_client, client.headers, f"/people/{client.id}"
    page = browser.get(own, headers=headers).text
    assert 'name="attributes"' in page
    assert "You can change: a.b, city" in page
    form = {"name": client.user["name"], "version": "1", "attributes": '{"plan": "free", "city": "Lyon"}'}
    assert browser.post(own, data=form, headers=headers).status_code == 303
    form = {**form, "version": "2", "attributes": '{"plan": "pro", "city": "Lyon"}'}
    refused = browser.post(own, data=form, headers=headers)
    assert refused.status_code == 403
    assert "attributes.plan" in refused.text
    assert own_attributes_app.admin.get(f"/users/{client.id}").json["attributes"] == {"plan": "free", "city": "Lyon"}


def test_the_order_of_names_is_no_change(
    secured_app: SecuredApp, make_client: Callable[[dict[str, Any]], UserClient]
) -> None:
    """Clients that sort names send their record back otherwise ordered; that changes no attribute."""
    user = secured_app.create_user(
        "member", attributes={"address": {"zip": "75001", "city": {"b": 1, "a": [{"d": 1, "c": 2}]}}}
    )
    sorted_names = {"address": {"city": {"a": [{"c": 2, "d": 1}], "b": 1}, "zip": "75001"}}
    client = make_client(user)
    response = client.put(f"/users/{client.id}", {**client.user, "name": "New", "attributes": sorted_names})
    assert response.status_code == 200, response.text
    again = client.put(f"/users/{client.id}", {**client.user, "name": "New"})
    assert (again.status_code, again.json["version"]) == (200, response.json["version"])
