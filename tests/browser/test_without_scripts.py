"""A browser that runs no scripts can do the work all the same."""

import re

import pytest
import steps
from playwright.sync_api import Page, expect
from visiting import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.fixture
def page(closed: SecuredApp, visit: Visitors) -> Page:
    """A page of the administrator that runs no scripts."""
    return visit(closed.secret(closed.admin.user), scripts=False)


def test_people_are_listed_searched_and_paged(page: Page, closed: SecuredApp) -> None:
    for number in range(55):
        closed.make(name=f"User {number:02}", username=f"user{number:02}")
    page.goto("/people?sort=name")
    page.get_by_role("link", name=re.compile("^Next")).click()
    expect(steps.listed(page, "User 54")).to_be_visible()
    page.get_by_role("link", name=re.compile("Previous")).click()
    expect(steps.listed(page, "User 00")).to_be_visible()
    steps.search(page, "user33")
    expect(steps.listed(page, "User 33")).to_be_visible()
    expect(steps.listed(page, "User 00")).to_have_count(0)


def test_a_person_is_made_opened_changed_deleted_and_restored(page: Page) -> None:
    steps.make_person(page, name="Bob", username="bob")
    expect(steps.heading(page)).to_have_text("Bob")
    page.goto("/people")
    steps.listed(page, "Bob").click()
    steps.describe(page, name="Robert")
    steps.save(page)
    expect(steps.heading(page)).to_have_text("Robert")
    steps.delete(page)
    expect(steps.listed(page, "Robert")).to_have_count(0)
    steps.press(page, "Undo")
    page.goto("/people")
    expect(steps.listed(page, "Robert")).to_be_visible()


def test_several_are_deleted_after_a_question_and_one_of_them_is_opened_and_purged(
    page: Page, closed: SecuredApp
) -> None:
    for name in ("Bob", "Carol", "Dan"):
        closed.make(name=name, username=name.lower())
    page.goto("/people?sort=name&role=member")
    for name in ("Bob", "Carol"):
        page.get_by_role("checkbox", name=f"Pick {name}").check()
    steps.press(page, "Delete")
    expect(steps.heading(page)).to_have_text("Delete 2 users?")
    steps.press(page, "Yes, all 2")
    steps.press(page, "Undo")
    expect(steps.listed(page, "Bob")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/people\?sort=name&role=member&done=undone&n=2$"))
    steps.listed(page, "Carol").click()
    steps.delete(page)
    page.goto("/people?deleted=true")
    steps.listed(page, "Carol").click()
    expect(page.get_by_role("main")).to_contain_text(re.compile(r"In the trash: deleted .*, by Ada Lovelace"))
    steps.press(page, "Purge")
    expect(steps.heading(page)).to_have_text("Remove Carol for good?")
    steps.press(page, "Remove for good")
    expect(page.get_by_text("The trash is empty")).to_be_visible()


def test_signing_in_and_out_and_a_token_need_no_script(closed: SecuredApp, visit: Visitors) -> None:
    assert closed.admin.user["name"] == "Ada Lovelace"
    page = visit(scripts=False)
    page.goto("/sign-in")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    page.goto("/api-tokens")
    steps.make_token(page, "ci")
    expect(steps.secret(page)).to_have_value(re.compile("^fsa_"))
    steps.press(page, "Sign out")
    expect(steps.heading(page)).to_have_text("Sign in")
