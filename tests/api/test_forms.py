"""Forms with conflicts: concurrent changes, expired sessions, repeated submits."""

import html
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.console_client import (
    PASSWORD,
    create_user_page,
    form_of,
    hidden_value,
    send,
    version_fields,
    version_of,
)

EVERYTHING = {"name": "New Name", "email": "new@example.org", "username": "newbob", "role": "viewer", "active": ""}


def test_a_concurrent_save_is_merged_except_for_fields_that_both_changed(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob", email="bob@example.org")
    mine = form_of(admin, path, name="Mine")
    send(admin, path, **form_of(admin, path, name="Theirs", email="theirs@example.org"))
    conflict = send(admin, path, **mine).text
    assert conflict.count('class="conflict"') == 1
    assert 'name="keep_name"' in conflict
    assert 'value="theirs@example.org"' in conflict
    assert "Your changes are kept in the form" in conflict


@pytest.mark.parametrize("keep", ["mine", "theirs"])
def test_a_choice_between_two_versions_is_kept(admin: FlaskClient, keep: str) -> None:
    path = create_user_page(admin, name="Bob", username="bob", email="bob@example.org")
    mine = form_of(admin, path, name="Mine", role="viewer", attributes='{"plan": "mine"}')
    theirs = form_of(admin, path, name="Theirs", role="editor", attributes='{"plan": "theirs"}', active="")
    send(admin, path, **theirs)
    conflict = send(admin, path, **mine)
    names = sorted(re.findall(r'name="theirs_(\w+)"', conflict.text))
    assert names == ["attributes", "name", "role"]
    choices = {f"keep_{name}": keep for name in names}
    others = {f"theirs_{name}": hidden_value(conflict.text, f"theirs_{name}") for name in names}
    saved = send(admin, path, **{**mine, "active": "", **version_fields(conflict.text), **choices, **others})
    assert saved.status_code == 303, saved.text
    user = admin.get(f"/api/users/{path.rpartition('/')[2]}").json
    chosen = "Mine" if keep == "mine" else "Theirs"
    assert (user["name"], user["attributes"]) == (chosen, {"plan": keep})
    assert (user["role"], user["active"]) == ("viewer" if keep == "mine" else "editor", False)


def test_a_third_change_during_a_merge_is_not_overwritten(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    mine = form_of(admin, path, name="Mine")
    send(admin, path, **form_of(admin, path, name="Theirs"))
    conflict = send(admin, path, **mine)
    send(admin, path, **form_of(admin, path, name="Third"))
    again = send(admin, path, **{**mine, **version_fields(conflict.text), "keep_name": "mine"})
    assert again.status_code == 409
    assert "Saved value: Third" in again.text


def test_an_invalid_field_does_not_hide_a_concurrent_change(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    mine = form_of(admin, path, name="Mine", email="nobody")
    send(admin, path, **form_of(admin, path, name="Theirs"))
    error_fields = send(admin, path, **mine)
    assert error_fields.status_code == 422
    mended = send(admin, path, **{**mine, **version_fields(error_fields.text), "email": "bob@example.org"})
    assert mended.status_code == 409
    assert "Saved value: Theirs" in mended.text


def test_the_same_change_by_two_is_no_conflict(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    form = form_of(admin, path, name="Robert", attributes='{"a": 1}')
    for _ in range(2):
        saved = send(admin, path, **form)
        assert (saved.status_code, saved.location) == (303, f"{path}?done=saved")
    assert version_of(admin, path) == "2"


def test_a_new_user_sent_twice_is_created_once(admin: FlaskClient) -> None:
    page = admin.get("/people/new").text
    form = {"name": "Bob", "username": "bob", "role": "member", "active": "on", "attributes": "{}"}
    sent = [send(admin, "/people/new", **form, key=hidden_value(page, "key"), password=PASSWORD) for _ in range(2)]
    assert [response.status_code for response in sent] == [303, 303]
    assert sent[0].location == sent[1].location
    other = send(admin, "/people/new", **{**form, "username": "bob2"}, key=hidden_value(page, "key"), password=PASSWORD)
    assert other.status_code == 422
    assert hidden_value(other.text, "key") != hidden_value(page, "key")


def test_a_token_sent_twice_is_made_once(admin: FlaskClient) -> None:
    form = {
        "name": "ci",
        "role": "viewer",
        "days": "90",
        "newest_id": hidden_value(admin.get("/api-tokens").text, "newest_id"),
    }
    assert send(admin, "/api-tokens", **form, user_id="").status_code == 201
    again = send(admin, "/api-tokens", **form, user_id="")
    assert again.status_code == 409
    assert "sent twice" in again.text
    assert len(admin.get("/api/tokens").json) == 1


def test_deleting_and_restoring_twice_does_no_harm(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    assert [send(admin, f"{path}/delete").status_code for _ in range(2)] == [303, 303]
    assert send(admin, f"{path}/restore").status_code == 303
    assert send(admin, f"{path}/restore").status_code == 409
    assert version_of(admin, path) == "3"


@pytest.fixture
def submit_after_session_end(app: Flask, admin: FlaskClient) -> Callable[..., tuple[FlaskClient, str]]:  # noqa: ARG001 - it closes the service
    """Submit a form with an ended session, sign in on the returned page, and return the response."""

    def submit_after_session_end(path: str, **form: str) -> tuple[FlaskClient, str]:
        browser = app.test_client()
        browser.set_cookie("fsa_session", f"{'x' * 43}.{'0' * 32}")
        asked = send(browser, path, **form)
        assert asked.status_code == 401
        assert "Nothing was changed" in asked.text
        fields = {name: hidden_value(asked.text, name) for name in ("next", "draft")}
        assert form.get("password", "no password") not in asked.text
        wrong = send(browser, "/sign-in", username="ada@example.org", password="something else", **fields)
        assert wrong.status_code == 401
        assert hidden_value(wrong.text, "draft") == fields["draft"]
        right = {"username": "ada@example.org", "password": PASSWORD}
        led = send(browser, "/sign-in", **right, **fields)
        assert f'action="{path}"' in led.text
        # What the only button of this page does.
        shown = send(browser, path, draft=hidden_value(led.text, "draft"))
        assert shown.status_code == 200
        assert "not saved yet" in shown.text or path == "/api-tokens"
        return browser, shown.text

    return submit_after_session_end


def test_a_form_whose_session_ended_is_filled_again_after_signing_in(
    admin: FlaskClient, submit_after_session_end: Callable[..., tuple[FlaskClient, str]]
) -> None:
    form = {"role": "editor", "has_active": "1", "attributes": '{"a": "<é&>"}', "name": "Zoë & Co", "username": "zoe"}
    _, page = submit_after_session_end("/people/new", **form, password="a secret of nobody")
    assert 'value="Zoë &amp; Co"' in page
    assert '{"a": "<é&>"}' in html.unescape(page)
    assert '<option value="editor" selected>' in page
    assert "checked" not in page.partition('id="active"')[2].partition(">")[0]
    assert len(admin.get("/api/users").json) == 1


def test_an_edit_whose_session_ended_keeps_the_version_that_it_began_with(
    admin: FlaskClient, submit_after_session_end: Callable[..., tuple[FlaskClient, str]]
) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    mine = form_of(admin, path, name="Mine")
    send(admin, path, **form_of(admin, path, name="Theirs"))
    browser, page = submit_after_session_end(path, **mine)
    assert 'value="Mine"' in page
    saved = send(browser, path, **{**mine, **version_fields(page)})
    assert saved.status_code == 409
    assert "Saved value: Theirs" in saved.text


def test_a_token_form_whose_session_ended_is_filled_again(
    admin: FlaskClient, submit_after_session_end: Callable[..., tuple[FlaskClient, str]]
) -> None:
    _, page = submit_after_session_end(
        "/api-tokens", name="for the build", role="editor", days="365", user_id="", newest=""
    )
    assert 'value="for the build"' in page
    assert admin.get("/api/tokens").json == []


def test_a_draft_is_shown_and_never_submitted(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    for action in ("delete", "restore", "purge", "unlock"):
        response = send(admin, f"{path}/{action}", draft="a=b", confirmed="1")
        assert (response.status_code, response.location) == (303, "/")
    assert send(admin, "/people/bulk", draft="", action="delete", id=path.rpartition("/")[2]).location == "/"
    assert send(admin, path, **EVERYTHING, draft="name=Draft").status_code == 200
    assert version_of(admin, path) == "1"


def test_purging_asks_once_more(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    send(admin, f"{path}/delete")
    asked = send(admin, f"{path}/purge")
    assert "cannot be undone" in asked.text
    assert "bob" in admin.get("/people?deleted=true").text
    assert send(admin, f"{path}/purge", confirmed="1").location == "/people?deleted=true&done=purged"
    assert "bob" not in admin.get("/people?deleted=true").text


def test_attributes_that_are_no_json_are_told_where(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    error_fields = send(admin, path, **form_of(admin, path, attributes='{\r\n  "plan": "pro",\r\n  "seats" 3\r\n}'))
    assert "The value is not JSON: Expecting &#39;:&#39; delimiter at line 3, column 11." in error_fields.text
