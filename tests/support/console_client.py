"""Sends the forms of the console, without a browser."""

import html
import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PASSWORD = "correct horse battery"
SAME_ORIGIN = {"Origin": "http://localhost"}


def send(browser: FlaskClient, path: str, **form: str) -> TestResponse:
    """Send a form with the Origin header of a page of this service."""
    return browser.post(path, data=form, headers=SAME_ORIGIN)


def create_user_page(browser: FlaskClient, **form: str) -> str:
    """Create a user, and return the path of its page."""
    response = send(browser, "/people/new", **{"role": "member", "active": "on", "attributes": "{}", **form})
    assert response.status_code == 303, response.text
    path, _, news = response.location.partition("?")
    assert news == "done=created"
    return path


def version_of(browser: FlaskClient, path: str) -> str:
    return hidden_value(browser.get(path).text, "version")


def hidden_value(page: str, name: str) -> str:
    (found,) = re.findall(rf'name="{name}" value="([^"]*)"', page.partition("<main")[2].partition("</main>")[0])
    return html.unescape(found)


def version_fields(page: str) -> dict[str, str]:
    """The version and the original values that a form contains."""
    return {name: hidden_value(page, name) for name in ("version", "original")}


def form_of(browser: FlaskClient, path: str, **changed: str) -> dict[str, str]:
    """The fields that the form of a user sends, with `changed` fields replaced."""
    user = browser.get(f"/api/users/{path.rpartition('/')[2]}").json
    fields = {name: user[name] or "" for name in ("name", "username", "email", "role")}
    has = {"has_username": "1", "has_role": "1", "has_active": "1"}
    return {**fields, **has, "active": "on", "attributes": "{}", **version_fields(browser.get(path).text), **changed}
