"""Users in a browser: create, find, change, delete and restore."""

import re

import pytest
import steps
from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import SecuredApp


@pytest.fixture
def bob(secured: SecuredApp) -> dict[str, str]:
    """A user."""
    return secured.create_user(name="Bob", username="bob", email="bob@example.org")


def test_a_new_user_is_created_and_listed(page: Page) -> None:
    steps.create_user(page, name="Zoë Martin", email="zoe@example.org", role="editor", attributes='{"plan": "pro"}')
    expect(steps.heading(page)).to_have_text("Zoë Martin")
    expect(steps.field(page, "role")).to_have_value("editor")
    expect(steps.field(page, "attributes")).to_have_value(re.compile('"plan": "pro"'))
    page.goto("/people")
    expect(steps.user_link(page, "Zoë Martin")).to_be_visible()


def test_an_error_is_shown_at_its_field_and_input_stays(page: Page) -> None:
    steps.create_user(page, name="Typed Name", username="a b")
    expect(steps.field(page, "username")).to_have_attribute("aria-invalid", "true")
    expect(steps.field(page, "username")).to_have_accessible_description(re.compile(r"\w"))
    expect(steps.field(page, "name")).to_have_value("Typed Name")
    steps.fill_fields(page, username="typed")
    steps.press(page, "Create user")
    expect(steps.heading(page)).to_have_text("Typed Name")


def test_users_are_searched_and_filtered(page: Page, secured: SecuredApp, bob: dict[str, str]) -> None:
    secured.create_user("viewer", name="Zoë", username="zoe")
    page.goto("/people")
    steps.search(page, "zoe")
    expect(steps.user_link(page, bob["name"])).to_have_count(0)
    expect(steps.user_link(page, "Zoë")).to_be_visible()
    steps.search(page, "")
    expect(steps.user_link(page, bob["name"])).to_be_visible()
    page.goto("/people?role=viewer")
    expect(page.get_by_role("radio", name="viewer")).to_be_checked()
    expect(steps.user_link(page, "Zoë")).to_be_visible()
    expect(steps.user_link(page, bob["name"])).to_have_count(0)


def test_a_change_of_a_user_is_shown_in_the_activity(page: Page, bob: dict[str, str]) -> None:
    page.goto("/people")
    steps.user_link(page, bob["name"]).click()
    steps.fill_fields(page, name="Robert", role="editor")
    steps.save(page)
    expect(steps.heading(page)).to_have_text("Robert")
    expect(page.get_by_role("region", name="Activity")).to_contain_text("editor")


def test_a_conflict_shows_both_values(page: Page, secured: SecuredApp, visit: Visitors, bob: dict[str, str]) -> None:
    other = visit(secured.session_cookie(secured.admin.user))
    for each in (page, other):
        each.goto(f"/people/{bob['id']}")
    steps.fill_fields(other, name="Theirs")
    steps.save(other)
    expect(steps.heading(other)).to_have_text("Theirs")
    steps.fill_fields(page, name="Mine")
    steps.save(page)
    expect(steps.alert(page)).to_be_visible()
    expect(steps.field(page, "name")).to_have_value("Mine")
    expect(page.get_by_role("radio", name="Saved value: Theirs")).to_be_visible()
    steps.save(page)
    expect(steps.heading(page)).to_have_text("Mine")
    expect(steps.alert(page)).to_have_count(0)


def test_undo_restores_a_deleted_user(page: Page, bob: dict[str, str]) -> None:
    page.goto(f"/people/{bob['id']}")
    steps.delete(page)
    expect(steps.notice(page)).to_contain_text("trash")
    expect(steps.user_link(page, bob["name"])).to_have_count(0)
    steps.press(page, "Undo")
    page.goto("/people")
    expect(steps.user_link(page, bob["name"])).to_be_visible()


def test_a_deleted_user_is_restored_from_the_trash(page: Page, secured: SecuredApp, bob: dict[str, str]) -> None:
    secured.admin.delete(f"/users/{bob['id']}")
    page.goto("/people")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Trash").click()
    row = page.get_by_role("row").filter(has_text=bob["name"])
    steps.press(row, re.compile("^Restore"))
    page.goto("/people")
    expect(steps.user_link(page, bob["name"])).to_be_visible()
    page.goto("/people?deleted=true")
    expect(page.get_by_text("The trash is empty")).to_be_visible()
