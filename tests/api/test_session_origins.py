"""Writes with a session cookie, and sign-ins, are accepted from pages of this origin only."""

import json

import pytest

from tests.support.secured_app import PASSWORD, SecuredApp

ADA = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}

# The delay of a refused sign-in is tested in test_sign_in.py.
pytestmark = pytest.mark.usefixtures("without_refusal_delay")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "http://localhost@evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Referer": "http://localhost/"}, 403),
    ],
)
def test_a_change_with_a_cookie_must_come_from_a_page_of_ours(
    secured_app: SecuredApp, headers: dict[str, str], status: int
) -> None:
    user = secured_app.create_user()
    client = secured_app.session_client(user)
    del client.headers["Origin"]
    assert client.patch("/me", {"name": "New"}, headers=headers).status_code == status
    assert client.get("/me", headers=headers).json["name"] == ("New" if status == 200 else user["name"])


def test_every_unsafe_method_with_a_cookie_needs_an_origin(secured_app: SecuredApp) -> None:
    client = secured_app.session_client(secured_app.admin.user)
    del client.headers["Origin"]
    other = secured_app.create_user()
    path = f"/users/{other['id']}"
    for method, address in [
        ("POST", "/users"),
        ("PUT", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", "/tokens"),
        ("DELETE", "/session"),
        ("DELETE", "/me/sessions"),
        ("PUT", "/me/password"),
    ]:
        assert client(method, address, json={}).status_code == 403, (method, address)
    assert client.get(path).json == other


def test_a_token_needs_no_origin_and_works_from_any(secured_app: SecuredApp) -> None:
    program = secured_app.token_client(secured_app.create_user())
    assert program.patch("/me", {"name": "New"}).status_code == 200
    assert program.patch("/me", {"name": "Newer"}, headers={"Origin": "http://app.example"}).status_code == 200


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_site_cannot_sign_a_user_in(secured_app: SecuredApp, headers: dict[str, str]) -> None:
    """Otherwise it could sign a user in to an account of the attacker."""
    secured_app.create_user(**ADA)
    response = secured_app.sign_in({"username": "ada", "password": PASSWORD}, **headers)
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers


def test_form_content_types_cannot_sign_a_user_in(secured_app: SecuredApp) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        response = secured_app.anonymous.post("/session", json.dumps(ADA).encode(), content_type=kind)
        assert response.status_code == 415
