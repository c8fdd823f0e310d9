"""The console without scripts: forms, links and pages."""

import html
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.api_client import ApiClient
from tests.support.console_client import PASSWORD, create_user_page, form_of, send, version_fields, version_of


def test_an_anonymous_visitor_is_redirected_to_sign_in_and_back(app: Flask, admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    browser = app.test_client()
    led = browser.get(f"{path}?a=1")
    assert (led.status_code, led.location) == (302, f"/sign-in?next={path.replace('/', '%2F')}%3Fa%3D1")
    assert f'value="{path}?a=1"' in browser.get(led.location).text
    back = send(browser, "/sign-in", username="ada@example.org", password=PASSWORD, next=f"{path}?a=1")
    assert (back.status_code, back.location) == (303, f"{path}?a=1")
    assert "Bob" in browser.get(path).text


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
@pytest.mark.usefixtures("admin")
def test_sign_in_never_redirects_to_another_site(app: Flask, target: str) -> None:
    response = send(app.test_client(), "/sign-in", username="ada@example.org", password=PASSWORD, next=target)
    assert (response.status_code, response.location) == (303, "/")


@pytest.mark.usefixtures("admin")
def test_a_wrong_password_shows_an_error_and_keeps_the_username(app: Flask) -> None:
    response = send(app.test_client(), "/sign-in", username="ada@example.org", password="something else")
    assert response.status_code == 401
    assert 'role="alert"' in response.text
    assert 'value="ada@example.org"' in response.text
    assert "something else" not in response.text


def test_signing_out_ends_the_session(admin: FlaskClient) -> None:
    assert send(admin, "/sign-out").location == "/sign-in"
    assert admin.get("/people").status_code == 302


def test_users_are_found_filtered_and_sorted(admin: FlaskClient) -> None:
    create_user_page(admin, name="Zoë", username="zoe", role="viewer")
    create_user_page(admin, name="Bob", username="bob")
    assert "Zoë" in admin.get("/people?q=zoe&role=viewer&active=true").text
    assert "Bob" not in admin.get("/people?q=zoe").text
    assert "No users match" in admin.get("/people?q=nobody").text
    page = admin.get("/people?sort=-name").text
    assert page.index("Zoë") < page.index("Bob")
    assert 'aria-sort="descending"' in page
    assert admin.get("/people?role=king").status_code == 422


@pytest.mark.parametrize("name", ["self", "_Context__self", "_Context__obj", "_loop_vars"])
def test_a_parameter_that_is_named_like_an_argument_of_python_is_an_unknown_one(admin: FlaskClient, name: str) -> None:
    page = admin.get(f"/people?{name}=x&attributes.a=b")
    assert page.status_code == 422
    assert 'href="/people?attributes.a=b"' in page.text


def test_pages_lead_on_and_back(admin: FlaskClient) -> None:
    for number in range(55):
        create_user_page(admin, username=f"user{number:02}", name=f"User {number:02}")
    first = admin.get("/people?sort=name").text
    (onwards,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = admin.get(html.unescape(onwards)).text
    assert "User 54" in second
    assert "User 54" not in first
    assert 'rel="prev"' in second
    assert "sort=name" in onwards


def test_a_change_of_a_user_is_shown_in_the_activity(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    saved = send(admin, path, **form_of(admin, path, name="Robert", role="editor", attributes='{"plan": "pro"}'))
    assert (saved.status_code, saved.location) == (303, f"{path}?done=saved")
    page = admin.get(path).text
    for text in ("Robert", "<del>member</del> → <ins>editor</ins>", "attributes.plan"):
        assert text in page


def test_a_conflicting_save_shows_both_versions(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    mine = form_of(admin, path, name="Mine")
    send(admin, path, **form_of(admin, path, name="Theirs"))
    conflict = send(admin, path, **mine)
    assert conflict.status_code == 409
    assert 'value="Mine"' in conflict.text
    assert "Saved value: Theirs" in conflict.text
    assert conflict.text.count('class="conflict"') == 1
    assert "Theirs" in admin.get(path).text
    assert send(admin, path, **{**mine, **version_fields(conflict.text)}).status_code == 303
    assert "Mine" in admin.get(path).text


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "nobody"), ("attributes", '{"a":'), ("attributes", "[]"), ("username", "a b"), ("password", "s3cret?")],
)
def test_an_invalid_field_is_named_and_keeps_its_input(admin: FlaskClient, field: str, value: str) -> None:
    typed = {"name": "Typed Name", "username": "bob", "role": "member", "active": "on", "attributes": "{}"}
    for path in ("/people/new", create_user_page(admin, name="Carol", username="carol")):
        versioned = {} if path.endswith("new") else {"version": version_of(admin, path), "has_username": "1"}
        response = send(admin, path, **{**typed, **versioned, field: value})
        assert response.status_code == 422, path
        assert f'class="error" id="{field}-note"' in response.text
        assert "Typed Name" in response.text
        assert "s3cret?" not in response.text


def test_a_taken_name_is_reported_at_its_field(admin: FlaskClient) -> None:
    response = send(admin, "/people/new", email="ada@example.org", role="member", active="on")
    assert response.status_code == 409
    assert "Is taken by another user" in response.text


def test_a_deleted_user_is_restored_by_undo_and_from_the_trash(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    for offer in ("the page after", "the trash"):
        gone = send(admin, f"{path}/delete")
        assert gone.status_code == 303
        page = admin.get(gone.location if offer == "the page after" else "/people?deleted=true").text
        assert f'action="{path}/restore"' in page
        assert 'name="version"' not in admin.get(path).text
        assert send(admin, f"{path}/restore").location == f"{path}?done=restored"
        assert admin.get(path).status_code == 200


def test_markup_in_any_field_is_only_text(admin: FlaskClient) -> None:
    evil = "<img src=x onerror=alert(1)>"
    path = create_user_page(admin, name=evil, username='"><script>', attributes='{"<b>": "</textarea><script>"}')
    for page in (admin.get(path), admin.get("/people"), admin.get("/people", query_string={"q": evil})):
        assert page.status_code == 200
        for tag in ("<img src=x", "<script>", "<b>"):
            assert tag not in page.text


def test_a_session_of_a_user_is_shown_and_ended(admin: FlaskClient, sign_in: Callable[[str], FlaskClient]) -> None:
    viewer = sign_in("viewer")
    path = f"/people/{viewer.get('/api/session').json['user']['id']}"
    (end,) = re.findall(r'action="([^"]+/sessions/[^"]+/end)"', admin.get(path).text)
    assert send(admin, end).location == f"{path}?done=ended"
    assert viewer.get("/people").status_code == 302
    lost = send(viewer, "/people/new", name="Bob")
    assert lost.status_code == 401
    assert "Nothing was changed" in lost.text


def test_a_member_sees_their_own_page_and_no_other(admin: FlaskClient, sign_in: Callable[[str], FlaskClient]) -> None:
    other, member = create_user_page(admin, name="Bob", username="bob"), sign_in("member")
    own = member.get("/profile").location
    page = member.get(own)
    assert page.status_code == 200
    assert 'name="role"' not in page.text
    assert "/delete" not in page.text
    saved = send(member, own, name="My Name", email="", attributes="{}", version=version_of(member, own))
    assert (saved.status_code, saved.location) == (303, f"{own}?done=saved")
    for path in (other, "/people", "/people/new"):
        assert member.get(path).status_code == 403
    assert send(member, f"{own}/delete").status_code == 403


def test_a_member_who_forges_the_form_gains_nothing(sign_in: Callable[[str], FlaskClient]) -> None:
    member = sign_in("member")
    own = member.get("/profile").location
    forged = {"name": "Eve", "attributes": "{}", "version": version_of(member, own), "has_role": "1", "role": "admin"}
    assert send(member, own, **forged).status_code == 403
    assert member.get("/api/session").json["role"] == "member"


def test_a_new_password_ends_other_sessions_and_keeps_this_one(app: Flask, admin: FlaskClient) -> None:
    other = app.test_client()
    send(other, "/sign-in", username="ada@example.org", password=PASSWORD)
    wrong = send(admin, "/password", current_password="something else", new_password="another long password")
    assert wrong.status_code == 403
    right = send(admin, "/password", current_password=PASSWORD, new_password="another long password")
    assert right.status_code == 303
    assert admin.get("/people").status_code == 200
    assert other.get("/people").status_code == 302


def test_a_page_of_another_site_changes_nothing(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        assert admin.post(f"{path}/delete", headers=headers).status_code == 403
    assert admin.get(path).status_code == 200


def test_in_setup_mode_the_console_shows_a_warning(app: Flask, api: ApiClient) -> None:
    api.create_user(name="Bob")
    page = app.test_client().get("/people")
    assert page.status_code == 200
    assert "has full access without a password" in page.text
    assert "Bob" in page.text


def test_the_dashboard_shows_numbers_and_health(admin: FlaskClient) -> None:
    create_user_page(admin, username="bob")
    send(admin, f"{create_user_page(admin, username='gone')}/delete")
    page = admin.get("/overview").text
    assert re.findall(r"<dt>(\w[^<]*)</dt><dd>(?:<a[^>]*>)?(\d+)", page) == [
        ("Users", "2"),
        ("Inactive", "0"),
        ("In the trash", "1"),
        ("Active sessions", "1"),
    ]
    assert "2 new users in 30 days" in page
    assert page.count("<rect") == 30
    assert "All systems operational" in page


def test_a_token_is_shown_once_works_and_is_revoked(app: Flask, admin: FlaskClient) -> None:
    made = send(admin, "/api-tokens", name="ci", role="viewer", days="90")
    (secret,) = re.findall(r'value="(fsa_\w+)"', made.text)
    bearer = {"Authorization": f"Bearer {secret}"}
    anonymous = app.test_client()
    assert anonymous.get("/api/users", headers=bearer).status_code == 200
    page = admin.get("/api-tokens").text
    assert secret not in page
    (revoke,) = re.findall(r'action="(/api-tokens/[^"]+/revoke)"', page)
    assert send(admin, revoke).location == "/api-tokens"
    assert anonymous.get("/api/users", headers=bearer).status_code == 401


@pytest.mark.parametrize(("name", "role"), [("", "viewer"), ("ci", "king"), ("\x07", "viewer")])
def test_a_faulty_token_is_refused_at_its_field(admin: FlaskClient, name: str, role: str) -> None:
    response = send(admin, "/api-tokens", name=name, role=role, days="")
    assert response.status_code == 422
    assert 'class="error"' in response.text
    assert admin.get("/api/tokens").json == []
