"""Concurrent edits of one user conflict only in fields that both changed."""

import re

import pytest
from flask.testing import FlaskClient

from tests.support.console_client import create_user_page, form_of, send, version_fields, version_of

TO = {
    "name": ("Mine", "Theirs"),
    "username": ("mine", "theirs"),
    "email": ("mine@example.org", "theirs@example.org"),
    "role": ("viewer", "editor"),
    "attributes": ('{"plan": "mine"}', '{"plan": "theirs"}'),
    "active": ("", "on"),
}


def asked(page: str) -> set[str]:
    """The fields about which a page asks."""
    return set(re.findall(r'name="keep_(\w+)"', page))


@pytest.mark.parametrize("theirs", TO)
@pytest.mark.parametrize("mine", TO)
def test_only_a_field_that_both_changed_is_asked_about(admin: FlaskClient, mine: str, theirs: str) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    form = form_of(admin, path, **{mine: TO[mine][0]})
    assert send(admin, path, **form_of(admin, path, **{theirs: TO[theirs][1]})).status_code == 303
    response = send(admin, path, **form)
    if mine == theirs and mine != "active":
        assert response.status_code == 409
        assert asked(response.text) == {mine}
        return
    assert (response.status_code, response.location) == (303, f"{path}?done=saved")
    page = form_of(admin, path)
    assert page[mine] == TO[mine][0] or mine in ("attributes", "active")
    assert page[theirs] == TO[theirs][1] or theirs in ("attributes", "active")
    user = admin.get(f"/api/users/{path.rpartition('/')[2]}").json
    assert user["active"] is (mine != "active")
    plan = "mine" if mine == "attributes" else "theirs" if theirs == "attributes" else None
    assert user["attributes"].get("plan") == plan


def test_a_merge_asks_only_about_fields_that_both_changed(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob", email="bob@example.org")
    mine = form_of(admin, path, name="Mine", role="viewer")
    send(admin, path, **form_of(admin, path, name="Theirs", email="theirs@example.org"))
    conflict = send(admin, path, **mine)
    assert asked(conflict.text) == {"name"}
    assert conflict.text.count("Saved value") == 1
    assert "Saved value: Theirs" in conflict.text
    assert '<option value="viewer" selected>' in conflict.text
    assert 'value="theirs@example.org"' in conflict.text


def test_a_program_that_writes_constantly_does_not_block_a_form(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    mine = form_of(admin, path, name="Mine")
    for number in range(3):
        send(admin, path, **form_of(admin, path, attributes=f'{{"seen": {number}}}'))
    assert send(admin, path, **mine).status_code == 303
    user = admin.get(f"/api/users/{path.rpartition('/')[2]}").json
    assert (user["name"], user["attributes"]) == ("Mine", {"seen": 2})


def test_a_password_is_never_merged_unseen(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    mine = form_of(admin, path, password="a long password of mine")
    send(admin, path, **form_of(admin, path, password="a long password of theirs"))
    conflict = send(admin, path, **mine)
    assert conflict.status_code == 409
    assert asked(conflict.text) == set()
    assert "Enter the password again" in conflict.text
    assert "of mine" not in conflict.text
    assert version_of(admin, path) == "2"


def test_a_merge_offers_the_removal_of_a_value(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob", email="bob@example.org")
    mine = form_of(admin, path, email="mine@example.org")
    send(admin, path, **form_of(admin, path, email=""))
    conflict = send(admin, path, **mine)
    assert asked(conflict.text) == {"email"}
    assert "Saved value: (none)" in conflict.text
    kept = {"keep_email": "theirs", "theirs_email": ""}
    assert send(admin, path, **{**mine, **version_fields(conflict.text), **kept}).status_code == 303
    assert admin.get(f"/api/users/{path.rpartition('/')[2]}").json["email"] is None
