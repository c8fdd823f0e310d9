"""Chromium sends every value that the API accepts unchanged, and a save changes only edited fields."""

import json
import re
from urllib.parse import urlencode

import pytest
import steps
from playwright.sync_api import Locator, Page, expect
from visitors import Visitors

from tests.support import accepted_values
from tests.support.secured_app import PASSWORD, SecuredApp

EDITS = {
    "name": "Another Name",
    "username": "another-{}",
    "email": "another-{}@example.org",
    "attributes": '{{"another": {}}}',
    "role": "viewer",
}
# Types each value as a keyboard does, so that maxlength applies. Returns what the form would send, and its validity.
_TYPE = """(field, values) => values.map((value) => {
    field.focus();
    field.select();
    document.execCommand("insertText", false, value);
    return [new FormData(field.form).get(field.name), field.validity.valid];
})"""
_HOLDS = "(field) => [field.value, new FormData(field.form).get(field.name), field.validity.valid]"


@pytest.mark.timeout(300)  # 250 pages
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_save_changes_only_the_edited_field(secured: SecuredApp, visit: Visitors, *, scripts: bool) -> None:
    # Four of five edits leave a field unchanged: 100 values with scripts.
    count = accepted_values.MANY * 5 // 4 if scripts else 10
    kinds = (accepted_values.names, accepted_values.usernames, accepted_values.emails, accepted_values.attributes)
    page = visit(secured.session_cookie(secured.admin.user), scripts=scripts)
    for number, values in enumerate(zip(*(kind(count) for kind in kinds), strict=True)):
        made = secured.create_user(**dict(zip(("name", "username", "email", "attributes"), values, strict=True)))
        edited = list(EDITS)[number % len(EDITS)]
        page.goto(f"/people/{made['id']}", wait_until="domcontentloaded")
        steps.fill_fields(page, **{edited: EDITS[edited].format(number)})
        steps.save(page)
        expect(steps.notice(page)).to_have_text("Changes saved.")
        saved = secured.admin.get(f"/users/{made['id']}").json
        assert saved[edited] != made[edited]
        own = {edited, "version", "updated_at"}
        for field in made.keys() - own:
            assert accepted_values.same_json(saved[field], made[field]), (edited, field, made[field], saved[field])
        assert saved["version"] == made["version"] + 1


def typed(field: Locator, values: list[str]) -> None:
    """Require that the form of a field sends each of these values unchanged."""
    sent = field.evaluate(_TYPE, values)
    wrong = [(value, *found) for value, found in zip(values, sent, strict=True) if found != [value, True]]
    assert wrong == [], wrong


@pytest.mark.parametrize("path", ["/people/new", "/people/{id}"])
def test_the_forms_of_a_user_send_what_is_typed(page: Page, secured: SecuredApp, path: str) -> None:
    page.goto(path.format(id=secured.create_user(username="bob")["id"]))
    texts = [json.dumps(value, indent=2, ensure_ascii=False) for value in accepted_values.attributes()]
    kinds = {
        "name": accepted_values.names(),
        "username": accepted_values.usernames(),
        "email": accepted_values.emails(),
        "attributes": texts,
    }
    for name, values in {**kinds, "password": accepted_values.passwords()}.items():
        typed(steps.field(page, name), values)


@pytest.mark.usefixtures("setup_mode")
def test_the_form_of_the_first_administrator_sends_what_is_typed(visit: Visitors) -> None:
    page = visit()
    page.goto("/")
    kinds = {
        "Your name": accepted_values.names(),
        "Email": accepted_values.emails(),
        "Password": accepted_values.passwords(),
    }
    for label, values in kinds.items():
        typed(page.get_by_label(label, exact=True), values)


def test_signing_in_sends_what_is_typed(visit: Visitors, secured: SecuredApp) -> None:
    assert secured.admin.user
    page = visit()
    page.goto("/sign-in")
    typed(page.get_by_label("Username or email", exact=True), accepted_values.usernames() + accepted_values.emails())
    typed(page.get_by_label("Password", exact=True), accepted_values.passwords())


def test_a_new_password_and_a_token_are_sent_as_typed(page: Page) -> None:
    page.goto("/password")
    for label in ("Current password", "New password"):
        typed(page.get_by_label(label, exact=True), accepted_values.passwords())
    page.goto("/api-tokens")
    typed(page.get_by_label("Token name", exact=True), accepted_values.token_names())


def test_a_search_sends_what_is_typed(page: Page) -> None:
    page.goto("/people")
    typed(page.get_by_role("searchbox"), accepted_values.searches())


def test_a_form_that_comes_back_holds_what_was_typed(page: Page) -> None:
    """With an error in one field, every other field keeps its input, including a line end at its start."""
    names, usernames, emails = accepted_values.names(20), accepted_values.usernames(20), accepted_values.emails(20)
    for name, username, email in zip(names, usernames, emails, strict=True):
        page.goto("/people/new", wait_until="domcontentloaded")
        values = {"name": name, "username": username, "email": email, "attributes": '\n\n{\n "a": "x"'}
        for field, value in values.items():
            typed(steps.field(page, field), [value])
        steps.press(page, "Create user")
        expect(steps.field(page, "attributes")).to_have_attribute("aria-invalid", "true")
        for field, value in values.items():
            assert steps.field(page, field).evaluate(_HOLDS) == [value, value, True], field


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_filters_of_the_address_go_through_the_search_form_as_they_are(
    secured: SecuredApp, visit: Visitors, *, scripts: bool
) -> None:
    values = ["one\ntwo", "a\r\nb", "a\rb", "\ttab ", "", "&=+%", "é\u2028"]
    page = visit(secured.session_cookie(secured.admin.user), scripts=scripts)
    for at, value in enumerate(values):
        secured.create_user(name=f"Noted {at}", username=f"noted{at}", attributes={"note": value})
    secured.create_user(name="Noted otherwise", username="other", attributes={"note": "otherwise"})
    for at, value in enumerate(values):
        page.goto(f"/people?{urlencode({'attributes.note': value})}")
        steps.search(page, "noted")
        expect(page).to_have_url(re.compile(r"/people\?(?!.*filters=).*q=noted"))
        expect(steps.user_link(page, f"Noted {at}")).to_be_visible()
        expect(steps.user_link(page, "Noted otherwise")).to_have_count(0)


def test_an_international_address_made_first_signs_in(setup_mode: object, visit: Visitors) -> None:
    assert setup_mode
    page = visit()
    page.goto("/")
    steps.create_first_admin(page, name="Leni", email="leni@größe.example", password=PASSWORD)
    expect(steps.heading(page)).to_have_text("Dashboard")
    steps.press(page, "Sign out")
    steps.sign_in(page, "leni@größe.example", PASSWORD)
    expect(steps.heading(page)).to_have_text("Dashboard")
    page.goto("/profile")
    expect(steps.field(page, "email")).to_have_value("leni@größe.example")
