"""Only forms of this service become drafts, and drafts contain no password."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.console_client import PASSWORD, SAME_ORIGIN, create_user_page, hidden_value, send

EVIL = {"name": "Mallory", "username": "mallory", "email": "mallory@evil.example", "role": "admin", "active": "on"}
FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {},
]


@pytest.fixture
def anonymous_browser(app: Flask, admin: FlaskClient) -> FlaskClient:  # noqa: ARG001 - it closes the service
    """A browser that is not signed in."""
    return app.test_client()


def values(page: str) -> list[str]:
    """The values of the fields of a page."""
    return re.findall(r'value="([^"]*)"', page.partition("<main")[2].partition("</main>")[0])


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["/people/new", "/people/{id}", "/api-tokens"])
def test_a_form_of_another_site_is_not_kept(
    admin: FlaskClient, anonymous_browser: FlaskClient, path: str, headers: dict[str, str]
) -> None:
    target = path.format(id=create_user_page(admin, username="bob").rpartition("/")[2])
    asked = anonymous_browser.post(target, data={**EVIL, "draft": "name=Mallory"}, headers=headers)
    assert asked.status_code in (401, 403)
    assert "mallory" not in asked.text.lower()
    assert 'name="draft"' not in asked.text


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_draft_that_another_site_sends_with_a_sign_in_is_not_kept(
    anonymous_browser: FlaskClient, headers: dict[str, str]
) -> None:
    for password, status in (("something else", (401, 403)), (PASSWORD, (303, 403))):
        form = {"username": "ada@example.org", "password": password, "next": "/people/new", "draft": "name=Mallory"}
        response = anonymous_browser.post("/sign-in", data=form, headers=headers)
        assert response.status_code in status
        assert "mallory" not in response.text.lower()


@pytest.mark.parametrize("path", ["/people/new", "/first", "/sign-in", "/language", "/people/bulk", "/password"])
@pytest.mark.parametrize("headers", [headers for headers in FOREIGN if headers.get("Origin")], ids=str)
def test_nothing_that_another_site_posts_is_shown(
    anonymous_browser: FlaskClient, path: str, headers: dict[str, str]
) -> None:
    form = {**dict.fromkeys(("name", "email", "username", "next", "query", "draft", "language", "action"), "mallory")}
    response = anonymous_browser.post(path, data=form, headers=headers)
    assert response.status_code in (401, 403)
    assert "mallory" not in response.text


def test_no_password_goes_into_a_draft_or_on_after_signing_in(anonymous_browser: FlaskClient) -> None:
    secrets = {"password": "a secret of bob", "current_password": "a secret of ada", "new_password": "a secret of eve"}
    asked = send(anonymous_browser, "/people/new", **EVIL, **secrets)
    draft = hidden_value(asked.text, "draft")
    assert "secret" not in asked.text
    assert "mallory" in draft
    response = send(
        anonymous_browser, "/sign-in", username="ada@example.org", password=PASSWORD, next="/people/new", draft=draft
    )
    # No redirect at all: 307 and 308 make the browser send the password to the next address.
    assert response.status_code == 200
    assert PASSWORD not in response.text
    assert values(response.text) == [draft.replace("&", "&amp;")]
    shown = anonymous_browser.post("/people/new", data={"draft": draft}, headers=SAME_ORIGIN)
    assert "not saved yet" in shown.text
    assert 'value="mallory"' in shown.text


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", "/\t/evil.example"])
def test_a_draft_is_sent_to_this_service_alone(anonymous_browser: FlaskClient, target: str) -> None:
    form = {"username": "ada@example.org", "password": PASSWORD, "next": target, "draft": "name=Bob"}
    assert 'action="/"' in send(anonymous_browser, "/sign-in", **form).text
