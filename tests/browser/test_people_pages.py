"""People in a browser: made, found, changed, deleted and brought back."""

import re

import pytest
import steps
from playwright.sync_api import Page, expect
from visiting import Visitors

from tests.support.secured_app import SecuredApp


@pytest.fixture
def bob(closed: SecuredApp) -> dict[str, str]:
    """Somebody who is there."""
    return closed.make(name="Bob", username="bob", email="bob@example.org")


def test_a_new_person_is_made_and_listed(page: Page) -> None:
    steps.make_person(page, name="Zoë Martin", email="zoe@example.org", role="editor", attributes='{"plan": "pro"}')
    expect(steps.heading(page)).to_have_text("Zoë Martin")
    expect(steps.field(page, "role")).to_have_value("editor")
    expect(steps.field(page, "attributes")).to_have_value(re.compile('"plan": "pro"'))
    page.goto("/people")
    expect(steps.listed(page, "Zoë Martin")).to_be_visible()


def test_a_fault_is_said_at_its_field_and_what_was_typed_stays(page: Page) -> None:
    steps.make_person(page, name="Typed Name", username="a b")
    expect(steps.field(page, "username")).to_have_attribute("aria-invalid", "true")
    expect(steps.field(page, "username")).to_have_accessible_description(re.compile(r"\w"))
    expect(steps.field(page, "name")).to_have_value("Typed Name")
    steps.describe(page, username="typed")
    steps.press(page, "Make this person")
    expect(steps.heading(page)).to_have_text("Typed Name")


def test_people_are_searched_and_filtered(page: Page, closed: SecuredApp, bob: dict[str, str]) -> None:
    closed.make("viewer", name="Zoë", username="zoe")
    page.goto("/people")
    steps.search(page, "zoe")
    expect(steps.listed(page, bob["name"])).to_have_count(0)
    expect(steps.listed(page, "Zoë")).to_be_visible()
    steps.search(page, "")
    expect(steps.listed(page, bob["name"])).to_be_visible()
    page.goto("/people?role=viewer")
    expect(page.get_by_role("radio", name="viewer")).to_be_checked()
    expect(steps.listed(page, "Zoë")).to_be_visible()
    expect(steps.listed(page, bob["name"])).to_have_count(0)


def test_a_person_is_changed_and_the_activity_says_so(page: Page, bob: dict[str, str]) -> None:
    page.goto("/people")
    steps.listed(page, bob["name"]).click()
    steps.describe(page, name="Robert", role="editor")
    steps.save(page)
    expect(steps.heading(page)).to_have_text("Robert")
    expect(page.get_by_role("region", name="Activity")).to_contain_text("editor")


def test_who_saves_second_sees_both_versions_and_loses_neither(
    page: Page, closed: SecuredApp, visit: Visitors, bob: dict[str, str]
) -> None:
    other = visit(closed.secret(closed.admin.user))
    for each in (page, other):
        each.goto(f"/people/{bob['id']}")
    steps.describe(other, name="Theirs")
    steps.save(other)
    expect(steps.heading(other)).to_have_text("Theirs")
    steps.describe(page, name="Mine")
    steps.save(page)
    expect(steps.alert(page)).to_be_visible()
    expect(steps.field(page, "name")).to_have_value("Mine")
    expect(page.get_by_role("radio", name="Saved meanwhile: Theirs")).to_be_visible()
    steps.save(page)
    expect(steps.heading(page)).to_have_text("Mine")
    expect(steps.alert(page)).to_have_count(0)


def test_a_deleted_person_comes_back_by_undo(page: Page, bob: dict[str, str]) -> None:
    page.goto(f"/people/{bob['id']}")
    steps.delete(page)
    expect(steps.news(page)).to_contain_text("trash")
    expect(steps.listed(page, bob["name"])).to_have_count(0)
    steps.press(page, "Undo")
    page.goto("/people")
    expect(steps.listed(page, bob["name"])).to_be_visible()


def test_a_deleted_person_comes_back_from_the_trash(page: Page, closed: SecuredApp, bob: dict[str, str]) -> None:
    closed.admin.delete(f"/users/{bob['id']}")
    page.goto("/people")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Trash").click()
    row = page.get_by_role("row").filter(has_text=bob["name"])
    steps.press(row, re.compile("^Restore"))
    page.goto("/people")
    expect(steps.listed(page, bob["name"])).to_be_visible()
    page.goto("/people?deleted=true")
    expect(page.get_by_text("The trash is empty")).to_be_visible()
