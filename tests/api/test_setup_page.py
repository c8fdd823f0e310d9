"""The first page, and the demo users."""

import re

import pytest
from flask import Flask

from tests.support.api_client import ApiClient

FIRST = {"name": "Ada", "email": "ada@example.org", "password": "correct horse battery"}


def test_the_first_visitor_is_offered_the_setup_page(app: Flask, api: ApiClient) -> None:
    browser = app.test_client()
    page = browser.get("/")
    assert page.status_code == 200
    assert b"Create administrator" in page.data
    (style,) = re.findall(r'href="([^"]+/console.css)"', page.text)
    assert browser.get(style).content_type.startswith("text/css")
    made = browser.post("/first", data=FIRST, headers={"Origin": "http://localhost"}, follow_redirects=True)
    assert made.status_code == 200
    assert b"Ada</a>" in made.data
    me = browser.get("/api/session").json
    assert (me["kind"], me["role"], me["user"]["email"]) == ("session", "admin", "ada@example.org")
    assert api.get("/users").status_code == 401


def test_the_setup_page_is_gone_after_the_first_administrator(app: Flask, api: ApiClient) -> None:
    browser = app.test_client()
    browser.post("/first", data=FIRST)
    assert browser.get("/").location == "/overview"
    again = app.test_client().post("/first", data={**FIRST, "email": "eve@example.org"})
    assert again.status_code == 404
    assert len(browser.get("/api/users").json) == 1
    assert api.get("/users").status_code == 401


@pytest.mark.parametrize(
    ("field", "value"), [("email", ""), ("email", "<b>"), ("password", "short"), ("password", ""), ("name", "\x07")]
)
def test_a_faulty_first_administrator_is_shown_the_fault(app: Flask, api: ApiClient, field: str, value: str) -> None:
    response = app.test_client().post("/first", data={**FIRST, field: value})
    assert response.status_code == 422
    assert b'class="error"' in response.data
    assert FIRST["password"].encode() not in response.data
    assert b"<b>" not in response.data
    assert api.get("/users").json == []


def test_demo_users_are_found_like_all_others(app: Flask, api: ApiClient) -> None:
    result = app.test_cli_runner().invoke(args=["users", "demo", "--count", "60", "--seed", "7"])
    assert "Added 60 users." in result.output
    users = api.list_users(limit=200)
    assert len(users) == 60
    assert not all(user["name"].isascii() for user in users)
    for user in users[:15]:
        assert user["name"] in {found["name"] for found in api.list_users(q=user["name"])}
