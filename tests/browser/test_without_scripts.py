"""The console without scripts."""

import re

import pytest
import steps
from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.fixture
def page(secured: SecuredApp, visit: Visitors) -> Page:
    """A page without scripts, in which the administrator is signed in."""
    return visit(secured.session_cookie(secured.admin.user), scripts=False)


def test_users_are_listed_searched_and_paged(page: Page, secured: SecuredApp) -> None:
    for number in range(55):
        secured.create_user(name=f"User {number:02}", username=f"user{number:02}")
    page.goto("/people?sort=name")
    page.get_by_role("link", name=re.compile("^Next")).click()
    expect(steps.user_link(page, "User 54")).to_be_visible()
    page.get_by_role("link", name=re.compile("Previous")).click()
    expect(steps.user_link(page, "User 00")).to_be_visible()
    steps.search(page, "user33")
    expect(steps.user_link(page, "User 33")).to_be_visible()
    expect(steps.user_link(page, "User 00")).to_have_count(0)


def test_a_user_is_created_opened_changed_deleted_and_restored(page: Page) -> None:
    steps.create_user(page, name="Bob", username="bob")
    expect(steps.heading(page)).to_have_text("Bob")
    page.goto("/people")
    steps.user_link(page, "Bob").click()
    steps.fill_fields(page, name="Robert")
    steps.save(page)
    expect(steps.heading(page)).to_have_text("Robert")
    steps.delete(page)
    expect(steps.user_link(page, "Robert")).to_have_count(0)
    steps.press(page, "Undo")
    page.goto("/people")
    expect(steps.user_link(page, "Robert")).to_be_visible()


def test_users_are_deleted_after_confirmation_and_one_is_purged(page: Page, secured: SecuredApp) -> None:
    for name in ("Bob", "Carol", "Dan"):
        secured.create_user(name=name, username=name.lower())
    page.goto("/people?sort=name&role=member")
    for name in ("Bob", "Carol"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    steps.press(page, "Delete")
    expect(steps.heading(page)).to_have_text("Delete 2 users?")
    steps.press(page, "Delete")
    steps.press(page, "Undo")
    expect(steps.user_link(page, "Bob")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/people\?sort=name&role=member&done=undone&n=2$"))
    steps.user_link(page, "Carol").click()
    steps.delete(page)
    page.goto("/people?deleted=true")
    steps.user_link(page, "Carol").click()
    expect(page.get_by_role("main")).to_contain_text(re.compile(r"In the trash · Deleted .*, by Ada Lovelace"))
    steps.press(page, "Delete permanently")
    expect(steps.heading(page)).to_have_text("Permanently delete Carol?")
    steps.press(page, "Delete permanently")
    expect(page.get_by_text("The trash is empty")).to_be_visible()


def test_sign_in_sign_out_and_tokens_need_no_script(secured: SecuredApp, visit: Visitors) -> None:
    assert secured.admin.user["name"] == "Ada Lovelace"
    page = visit(scripts=False)
    page.goto("/sign-in")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    page.goto("/api-tokens")
    steps.create_token(page, "ci")
    expect(steps.secret(page)).to_have_value(re.compile("^fsa_"))
    steps.press(page, "Sign out")
    expect(steps.heading(page)).to_have_text("Sign in")
