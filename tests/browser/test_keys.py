"""The keyboard alone is enough: shortcuts, and Tab and Enter for everything."""

import re

import pytest
import steps
from playwright.sync_api import Page, expect
from visiting import Visitors

from tests.support.secured_app import SecuredApp


@pytest.fixture
def people(closed: SecuredApp) -> list[str]:
    names = ["Ann", "Bea", "Cem"]
    for name in names:
        closed.make(name=name, username=name.lower())
    return names


def test_slash_searches_arrows_walk_and_enter_opens(page: Page, people: list[str]) -> None:
    page.goto("/people?sort=name&role=member")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(steps.listed(page, people[0])).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(steps.listed(page, people[1])).to_be_focused()
    page.keyboard.press("Enter")
    expect(steps.heading(page)).to_have_text(people[1])
    page.keyboard.press("/")
    expect(steps.heading(page)).to_have_text("People")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_shortcuts_work_from_every_page_for_who_may(page: Page, closed: SecuredApp, visit: Visitors) -> None:
    page.goto("/overview")
    page.keyboard.press("n")
    expect(steps.heading(page)).to_have_text("New person")
    viewer = visit(closed.secret(closed.make("viewer", name="Vic", username="vic")))
    viewer.goto("/overview")
    viewer.keyboard.press("n")
    viewer.keyboard.press("/")
    expect(steps.heading(viewer)).to_have_text("People")
    expect(viewer.get_by_role("searchbox")).to_be_focused()


def test_n_is_a_new_person_except_where_one_types(page: Page, people: list[str]) -> None:
    page.goto("/people")
    page.keyboard.press("/")
    page.keyboard.type("ann")
    expect(page.get_by_role("searchbox")).to_have_value("ann")
    expect(steps.listed(page, people[0])).to_be_visible()
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("n")
    expect(steps.heading(page)).to_have_text("New person")


def test_x_picks_and_the_actions_are_reached_by_tab(page: Page, people: list[str], closed: SecuredApp) -> None:
    page.goto("/people?sort=name&role=member")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("x")
    expect(page.get_by_role("checkbox", name=f"Pick {people[0]}")).to_be_checked()
    for name, key in (("Deactivate", "Shift+Tab"), ("Yes", "Tab")):
        button = page.get_by_role("button", name=name, exact=True)
        button.wait_for()
        for _ in range(30):
            if button.evaluate("(node) => node === document.activeElement"):
                break
            page.keyboard.press(key)
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
    expect(steps.news(page)).to_contain_text("One person was changed")
    assert [user["name"] for user in closed.admin.listed(active="false")] == [people[0]]


def test_pages_turn_by_arrows(page: Page, closed: SecuredApp) -> None:
    for number in range(55):
        closed.make(name=f"User {number:02}", username=f"user{number:02}")
    page.goto("/people?sort=name&role=member")
    page.keyboard.press("ArrowRight")
    expect(steps.listed(page, "User 54")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(steps.listed(page, "User 00")).to_be_visible()


def test_the_keys_are_listed_and_can_be_turned_off(page: Page) -> None:
    page.goto("/people")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("n")
    page.keyboard.press("/")
    expect(steps.heading(page)).to_have_text("People")
    expect(page.get_by_role("searchbox")).not_to_be_focused()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(dialog).to_be_visible()


def test_focus_is_seen_and_the_content_is_one_step_away(page: Page) -> None:
    page.goto("/people")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_text("New person")
    assert focused.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
