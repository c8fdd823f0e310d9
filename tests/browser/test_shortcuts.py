"""Keyboard shortcuts, and access by Tab and Enter."""

import re

import pytest
import steps
from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import SecuredApp


@pytest.fixture
def names(secured: SecuredApp) -> list[str]:
    names = ["Ann", "Bea", "Cem"]
    for name in names:
        secured.create_user(name=name, username=name.lower())
    return names


def test_slash_searches_arrows_move_and_enter_opens(page: Page, names: list[str]) -> None:
    page.goto("/people?sort=name&role=member")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(steps.user_link(page, names[0])).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(steps.user_link(page, names[1])).to_be_focused()
    page.keyboard.press("Enter")
    expect(steps.heading(page)).to_have_text(names[1])
    page.keyboard.press("/")
    expect(steps.heading(page)).to_have_text("Users")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_shortcuts_work_on_every_page_and_respect_roles(page: Page, secured: SecuredApp, visit: Visitors) -> None:
    page.goto("/overview")
    page.keyboard.press("n")
    expect(steps.heading(page)).to_have_text("New user")
    viewer = visit(secured.session_cookie(secured.create_user("viewer", name="Vic", username="vic")))
    viewer.goto("/overview")
    viewer.keyboard.press("n")
    viewer.keyboard.press("/")
    expect(steps.heading(viewer)).to_have_text("Users")
    expect(viewer.get_by_role("searchbox")).to_be_focused()


def test_n_opens_the_new_user_form_except_in_a_field(page: Page, names: list[str]) -> None:
    page.goto("/people")
    page.keyboard.press("/")
    page.keyboard.type("ann")
    expect(page.get_by_role("searchbox")).to_have_value("ann")
    expect(steps.user_link(page, names[0])).to_be_visible()
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("n")
    expect(steps.heading(page)).to_have_text("New user")


def test_x_selects_a_user_and_tab_reaches_the_actions(page: Page, names: list[str], secured: SecuredApp) -> None:
    page.goto("/people?sort=name&role=member")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("x")
    expect(page.get_by_role("checkbox", name=f"Select {names[0]}")).to_be_checked()
    for heading, key in (("Users", "Shift+Tab"), ("Deactivate 1 user?", "Tab")):
        expect(steps.heading(page)).to_have_text(heading)
        button = page.get_by_role("button", name="Deactivate", exact=True)
        button.wait_for()
        for _ in range(30):
            if button.evaluate("(node) => node === document.activeElement"):
                break
            page.keyboard.press(key)
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
    expect(steps.notice(page)).to_contain_text("1 user updated")
    assert [user["name"] for user in secured.admin.list_users(active="false")] == [names[0]]


def test_arrows_change_the_page(page: Page, secured: SecuredApp) -> None:
    for number in range(55):
        secured.create_user(name=f"User {number:02}", username=f"user{number:02}")
    page.goto("/people?sort=name&role=member")
    page.keyboard.press("ArrowRight")
    expect(steps.user_link(page, "User 54")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(steps.user_link(page, "User 00")).to_be_visible()


def test_shortcuts_are_listed_and_can_be_disabled(page: Page) -> None:
    page.goto("/people")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("n")
    page.keyboard.press("/")
    expect(steps.heading(page)).to_have_text("Users")
    expect(page.get_by_role("searchbox")).not_to_be_focused()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(dialog).to_be_visible()


def test_focus_is_visible_and_the_first_link_skips_to_the_content(page: Page) -> None:
    page.goto("/people")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_text("New user")
    assert focused.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"
