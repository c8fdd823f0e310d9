"""Forms accept and keep every value that the API accepts."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support import accepted_values
from tests.support.console_client import PASSWORD, SAME_ORIGIN, create_user_page, hidden_value, send, version_fields

FIELDS = ("name", "username", "email", "attributes")


def users(count: int = accepted_values.MANY) -> list[dict[str, Any]]:
    """Users with values that are hard to carry."""
    kinds = (accepted_values.names, accepted_values.usernames, accepted_values.emails, accepted_values.attributes)
    return [dict(zip(FIELDS, values, strict=True)) for values in zip(*(kind(count) for kind in kinds), strict=True)]


def form(values: dict[str, Any]) -> dict[str, str]:
    """The same as a form has it; browsers end lines with CRLF."""
    text = orjson.dumps(values["attributes"], option=orjson.OPT_INDENT_2).decode().replace("\n", "\r\n")
    return {**values, "attributes": text, "has_active": "1", "active": "on", "role": values.get("role", "member")}


def stored(browser: FlaskClient, path: str) -> dict[str, Any]:
    """A user, by the path of its page."""
    found: dict[str, Any] = browser.get(f"/api/users/{path.rpartition('/')[2]}").json
    return found


def test_a_new_user_by_the_form_is_the_one_that_the_api_makes(admin: FlaskClient) -> None:
    for values in users():
        by_api = admin.post("/api/users", json=values, headers=SAME_ORIGIN)
        assert by_api.status_code == 201, by_api.text
        assert admin.delete(f"/api/users/{by_api.json['id']}?purge=true", headers=SAME_ORIGIN).status_code == 204
        by_form = stored(admin, create_user_page(admin, **form(values)))
        for field in FIELDS:
            assert accepted_values.same_json(by_form[field], by_api.json[field]), field


@pytest.mark.parametrize("edited", [*FIELDS, "role", "active", "password"])
def test_a_saved_form_changes_only_the_edited_field(admin: FlaskClient, edited: str) -> None:
    to = {"attributes": '{"a": 1}', "role": "viewer", "active": "", "password": PASSWORD, "email": "new@example.org"}
    for values in users(25):
        before = admin.post("/api/users", json=values, headers=SAME_ORIGIN).json
        path = f"/people/{before['id']}"
        page = admin.get(path)
        sent = {**form(before), "email": before["email"] or "", **version_fields(page.text)}
        saved = send(admin, path, **{**sent, edited: to.get(edited, "another")})
        assert saved.status_code == 303, saved.text
        after = stored(admin, path)
        for field in before.keys() - {edited, "version", "updated_at"}:
            assert accepted_values.same_json(after[field], before[field]), (edited, field)
        assert after["version"] == before["version"] + 1
        assert admin.delete(f"/api/users/{before['id']}?purge=true", headers=SAME_ORIGIN).status_code == 204


def test_an_invalid_stored_value_does_not_prevent_a_save(admin: FlaskClient, database: psycopg.Connection[Any]) -> None:
    """A value that breaks today's rules stays as it is while another field is edited."""
    path = create_user_page(admin, name="Bob", username="bob")
    odd = {"name": "tab\there", "username": "two words", "email": "no address"}
    database.execute(
        "UPDATE users SET name = %(name)s, username = %(username)s, email = %(email)s WHERE username = 'bob'", odd
    )
    before = stored(admin, path)
    page = admin.get(path).text
    sent = {**form(before), **version_fields(page), "role": "viewer"}
    assert send(admin, path, **sent).status_code == 303
    assert {**odd, "role": "viewer"}.items() <= stored(admin, path).items()


def test_a_field_that_comes_as_it_was_shown_is_not_sent_on(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob", attributes='{"b": 1, "a": [1.0, "x"]}')
    shown = version_fields(admin.get(path).text)
    # Another layout of the same JSON is no change either.
    sent = {"name": "Robert", "attributes": '{"a":[1.0,"x"],  "b":1}', **shown}
    assert send(admin, path, **sent).status_code == 303
    (entry, *_) = admin.get(f"/api{path.replace('people', 'users')}/history").json
    assert [change["field"] for change in entry["changes"]] == ["name"]


@pytest.mark.parametrize("number", ["1" * 30, "-" + "9" * 400])
def test_a_number_that_is_too_large_is_told_at_its_field(admin: FlaskClient, number: str) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    response = send(admin, path, attributes=f'{{"a": {number}}}', **version_fields(admin.get(path).text))
    assert response.status_code == 422
    assert 'class="error" id="attributes-note"' in response.text


def test_the_first_administrator_is_kept_as_typed_and_can_sign_in(app: Flask, empty: Callable[[], None]) -> None:
    kinds = zip(accepted_values.names(40), accepted_values.emails(40), accepted_values.passwords(40), strict=True)
    for name, email, password in kinds:
        empty()
        browser = app.test_client()
        made = browser.post("/first", data={"name": name, "email": email, "password": password})
        assert made.status_code == 303, made.text
        own = browser.get("/api/session").json["user"]
        assert own["email"] == email
        assert send(browser, "/sign-out").status_code == 303
        assert send(browser, "/sign-in", username=email, password=password).status_code == 303


@pytest.mark.parametrize("kind", [accepted_values.usernames, accepted_values.emails])
def test_a_created_user_signs_in_with_the_given_password(
    app: Flask, admin: FlaskClient, kind: Callable[[int], list[str]]
) -> None:
    field = kind.__name__.removesuffix("s")
    logins = kind(50)
    for login, password in zip(logins, accepted_values.passwords(50), strict=True):
        create_user_page(admin, password=password, **{field: login})
    for at, (login, password) in enumerate(zip(logins, accepted_values.passwords(50), strict=True)):
        form = {"username": login, "password": password}
        origin = {"REMOTE_ADDR": f"192.0.2.{at}"}
        response = app.test_client().post("/sign-in", data=form, headers=SAME_ORIGIN, environ_base=origin)
        assert (response.status_code, response.location) == (303, "/"), login


def test_a_password_is_changed_to_what_was_typed(admin: FlaskClient) -> None:
    current = PASSWORD
    for password in accepted_values.passwords(30):
        assert send(admin, "/password", current_password=current, new_password=password).status_code == 303
        current = password


def test_a_token_has_the_name_that_the_api_gives_it_and_is_made_once(admin: FlaskClient) -> None:
    for name in accepted_values.token_names():
        newest_id = hidden_value(admin.get("/api-tokens").text, "newest_id")
        sent = {"name": name, "role": "viewer", "days": "90", "user_id": "", "newest_id": newest_id}
        assert send(admin, "/api-tokens", **sent).status_code == 201
        # Also when the name is written in another normal form than it is kept in.
        assert send(admin, "/api-tokens", **sent).status_code == 409
        (by_form,) = admin.get("/api/tokens").json
        assert admin.delete(f"/api/tokens/{by_form['id']}", headers=SAME_ORIGIN).status_code == 204
        by_api = admin.post("/api/tokens", json={"name": name, "role": "viewer"}, headers=SAME_ORIGIN).json
        assert by_form["name"] == by_api["name"]
        assert admin.delete(f"/api/tokens/{by_api['id']}", headers=SAME_ORIGIN).status_code == 204


def test_a_search_asks_what_the_api_is_asked(admin: FlaskClient) -> None:
    for values in users(20):
        create_user_page(admin, **form(values))
    for text in (*accepted_values.searches(60), *accepted_values.names(20)):
        query = urlencode({"q": text, "sort": "-created_at"})
        listed = admin.get(f"/api/users?{query}")
        page = admin.get(f"/people?{query}")
        assert page.status_code == listed.status_code
        if listed.status_code == 200:
            assert [user["id"] for user in listed.json] == ids(page.text)


def ids(page: str) -> list[str]:
    """The users that a list has."""
    return [part.partition('"')[0] for part in page.split('name="id" value="')[1:]]
