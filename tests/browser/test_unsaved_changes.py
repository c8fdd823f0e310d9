"""Leaving a form with unsaved changes requires confirmation; leaving or saving it otherwise does not."""

import re
from collections.abc import Callable

import pytest
import steps
from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp

EDITS: dict[str, Callable[[Page], object]] = {
    "a text": lambda page: steps.field(page, "name").fill("Robert"),
    "a choice": lambda page: steps.field(page, "role").select_option("viewer"),
    "a checkbox": lambda page: page.get_by_label(re.compile("^Active")).uncheck(),
    "a long text": lambda page: steps.field(page, "attributes").fill("{}\n"),
    "a password": lambda page: steps.field(page, "password").fill("x"),
}
WAYS: dict[str, Callable[[Page], object]] = {
    "a link": lambda page: page.get_by_role("link", name="Dashboard").click(),
    "a key": lambda page: (page.get_by_role("link", name="Dashboard").focus(), page.keyboard.press("n")),
    "another form": lambda page: steps.press(page, "Français"),
    "deleting": steps.delete,
    "back": lambda page: page.evaluate("history.back()"),
    "reloading": lambda page: page.evaluate("location.reload()"),
}


@pytest.fixture
def bob(page: Page, secured: SecuredApp) -> Page:
    """The page of a user, opened after the list."""
    made = secured.create_user(name="Bob", username="bob")
    page.goto("/people")
    page.goto(f"/people/{made['id']}")
    return page


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_leave_asks_and_staying_loses_nothing(bob: Page, visit: Visitors, way: str) -> None:
    steps.fill_fields(bob, name="Robert")
    visit.stays = True
    with bob.expect_event("dialog"):
        WAYS[way](bob)
    expect(steps.field(bob, "name")).to_have_value("Robert")
    assert visit.dialogs == ["beforeunload"]
    # The form can still be saved, and the other form can still be submitted.
    steps.save(bob)
    expect(steps.heading(bob)).to_have_text("Robert")
    assert visit.dialogs == ["beforeunload"]


@pytest.mark.parametrize("edit", EDITS)
def test_each_kind_of_change_asks_and_confirming_leaves(bob: Page, visit: Visitors, edit: str) -> None:
    EDITS[edit](bob)
    bob.get_by_role("link", name="Dashboard").click()
    expect(steps.heading(bob)).to_have_text("Dashboard")
    assert visit.dialogs == ["beforeunload"]


def test_an_unchanged_or_saved_form_does_not_ask(bob: Page, visit: Visitors) -> None:
    bob.get_by_role("link", name="Dashboard").click()
    expect(steps.heading(bob)).to_have_text("Dashboard")
    bob.go_back()
    steps.fill_fields(bob, name="Robert", role="viewer")
    steps.fill_fields(bob, name="Bob", role="member")
    bob.get_by_role("link", name="Dashboard").click()
    expect(steps.heading(bob)).to_have_text("Dashboard")
    bob.go_back()
    steps.fill_fields(bob, name="Robert")
    steps.save(bob)
    expect(steps.notice(bob)).to_have_text("Changes saved.")
    bob.get_by_role("link", name="Dashboard").click()
    expect(steps.heading(bob)).to_have_text("Dashboard")
    assert visit.dialogs == []


def test_a_form_with_errors_is_unsaved(page: Page, visit: Visitors) -> None:
    steps.create_user(page, name="Bob", username="b o b")
    expect(steps.invalid_fields(page)).to_have_count(1)
    page.get_by_role("link", name="Dashboard").click()
    expect(steps.heading(page)).to_have_text("Dashboard")
    assert visit.dialogs == ["beforeunload"]


def test_a_draft_on_the_sign_in_page_is_unsaved(page: Page, secured: SecuredApp, visit: Visitors) -> None:
    page.goto("/people/new")
    steps.fill_fields(page, name="Typed")
    secured.admin.delete(f"/users/{secured.admin.user['id']}/sessions")
    steps.press(page, "Create user")
    visit.stays = True
    with page.expect_event("dialog"):
        steps.press(page, "Français")
    assert visit.dialogs == ["beforeunload"]
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.field(page, "name")).to_have_value("Typed")
    assert visit.dialogs == ["beforeunload"]


def test_the_token_form_asks_too(page: Page, visit: Visitors) -> None:
    page.goto("/api-tokens")
    page.get_by_label("Token name", exact=True).fill("ci")
    page.get_by_role("link", name="Dashboard").click()
    expect(steps.heading(page)).to_have_text("Dashboard")
    assert visit.dialogs == ["beforeunload"]


def test_a_fragment_that_would_replace_the_form_asks_first(bob: Page, visit: Visitors) -> None:
    steps.fill_fields(bob, name="Robert")
    visit.stays = True
    bob.evaluate("htmx.ajax('GET', '/people', {target: '#main', swap: 'innerHTML'})")
    bob.wait_for_timeout(200)
    expect(steps.field(bob, "name")).to_have_value("Robert")
    visit.stays = False
    bob.evaluate("htmx.ajax('GET', '/people', {target: '#main', swap: 'innerHTML'})")
    expect(steps.field(bob, "name")).to_have_count(0)
    assert visit.dialogs == ["confirm", "confirm"]
