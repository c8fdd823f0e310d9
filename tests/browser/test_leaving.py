"""Fault 27: leaving a form with unsaved changes asks, however it is left; saving, or leaving it as it was, does not."""

import re
from collections.abc import Callable

import pytest
import steps
from playwright.sync_api import Page, expect
from visiting import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp

EDITS: dict[str, Callable[[Page], object]] = {
    "a text": lambda page: steps.field(page, "name").fill("Robert"),
    "a choice": lambda page: steps.field(page, "role").select_option("viewer"),
    "a box": lambda page: page.get_by_label(re.compile("^Active")).uncheck(),
    "a long text": lambda page: steps.field(page, "attributes").fill("{}\n"),
    "a password": lambda page: steps.field(page, "password").fill("x"),
}
WAYS: dict[str, Callable[[Page], object]] = {
    "a link": lambda page: page.get_by_role("link", name="Overview").click(),
    "a key": lambda page: (page.get_by_role("link", name="Overview").focus(), page.keyboard.press("n")),
    "another form": lambda page: steps.press(page, "Français"),
    "deleting": steps.delete,
    "back": lambda page: page.evaluate("history.back()"),
    "reloading": lambda page: page.evaluate("location.reload()"),
}


@pytest.fixture
def bob(page: Page, closed: SecuredApp) -> Page:
    """The page of somebody, come to from the list."""
    made = closed.make(name="Bob", username="bob")
    page.goto("/people")
    page.goto(f"/people/{made['id']}")
    return page


@pytest.mark.parametrize("way", WAYS)
def test_each_way_out_asks_and_staying_loses_nothing(bob: Page, visit: Visitors, way: str) -> None:
    steps.describe(bob, name="Robert")
    visit.stays = True
    with bob.expect_event("dialog"):
        WAYS[way](bob)
    expect(steps.field(bob, "name")).to_have_value("Robert")
    assert visit.dialogs == ["beforeunload"]
    # Whoever stays can still save, and the other form can still be sent.
    steps.save(bob)
    expect(steps.heading(bob)).to_have_text("Robert")
    assert visit.dialogs == ["beforeunload"]


@pytest.mark.parametrize("edit", EDITS)
def test_each_kind_of_change_counts_and_who_leaves_anyway_leaves(bob: Page, visit: Visitors, edit: str) -> None:
    EDITS[edit](bob)
    bob.get_by_role("link", name="Overview").click()
    expect(steps.heading(bob)).to_have_text("Overview")
    assert visit.dialogs == ["beforeunload"]


def test_a_form_that_was_left_as_it_was_or_saved_asks_nothing(bob: Page, visit: Visitors) -> None:
    bob.get_by_role("link", name="Overview").click()
    expect(steps.heading(bob)).to_have_text("Overview")
    bob.go_back()
    steps.describe(bob, name="Robert", role="viewer")
    steps.describe(bob, name="Bob", role="member")
    bob.get_by_role("link", name="Overview").click()
    expect(steps.heading(bob)).to_have_text("Overview")
    bob.go_back()
    steps.describe(bob, name="Robert")
    steps.save(bob)
    expect(steps.news(bob)).to_have_text("Saved.")
    bob.get_by_role("link", name="Overview").click()
    expect(steps.heading(bob)).to_have_text("Overview")
    assert visit.dialogs == []


def test_a_form_that_came_back_is_unsaved(page: Page, visit: Visitors) -> None:
    steps.make_person(page, name="Bob", username="b o b")
    expect(steps.faulty(page)).to_have_count(1)
    page.get_by_role("link", name="Overview").click()
    expect(steps.heading(page)).to_have_text("Overview")
    assert visit.dialogs == ["beforeunload"]


def test_a_draft_that_waits_for_signing_in_is_unsaved(page: Page, closed: SecuredApp, visit: Visitors) -> None:
    page.goto("/people/new")
    steps.describe(page, name="Typed")
    closed.admin.delete(f"/users/{closed.admin.user['id']}/sessions")
    steps.press(page, "Make this person")
    visit.stays = True
    with page.expect_event("dialog"):
        steps.press(page, "Français")
    assert visit.dialogs == ["beforeunload"]
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.field(page, "name")).to_have_value("Typed")
    assert visit.dialogs == ["beforeunload"]


def test_a_token_form_asks_too(page: Page, visit: Visitors) -> None:
    page.goto("/api-tokens")
    page.get_by_label("What for", exact=True).fill("ci")
    page.get_by_role("link", name="Overview").click()
    expect(steps.heading(page)).to_have_text("Overview")
    assert visit.dialogs == ["beforeunload"]


def test_a_part_that_would_replace_the_form_asks_before_it_comes(bob: Page, visit: Visitors) -> None:
    steps.describe(bob, name="Robert")
    visit.stays = True
    bob.evaluate("htmx.ajax('GET', '/people', {target: '#main', swap: 'innerHTML'})")
    bob.wait_for_timeout(200)
    expect(steps.field(bob, "name")).to_have_value("Robert")
    visit.stays = False
    bob.evaluate("htmx.ajax('GET', '/people', {target: '#main', swap: 'innerHTML'})")
    expect(steps.field(bob, "name")).to_have_count(0)
    assert visit.dialogs == ["confirm", "confirm"]
