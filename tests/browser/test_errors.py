"""Error pages in a browser, and cookies of other applications."""

import pytest
import steps
from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.mark.parametrize(
    ("path", "link", "title"),
    [
        ("/nowhere", "Continue", "Dashboard"),
        ("/sign-out", "Continue", "Dashboard"),
        ("/users/nobody", "Continue", "Users"),
        ("/people?limit=x", "Show all users", "Users"),
    ],
)
def test_an_error_page_has_a_link_to_continue(page: Page, path: str, link: str, title: str) -> None:
    """It was JSON, or the text of a validator."""
    page.goto(path)
    page.get_by_role("link", name=link).click()
    expect(steps.heading(page)).to_have_text(title)


def test_signing_in_leads_back_to_the_address_of_the_exercise(secured: SecuredApp, visit: Visitors) -> None:  # noqa: ARG001
    """`/users` in a browser said 401 in JSON."""
    page = visit()
    page.goto("/users")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    page.wait_for_url("**/users")
    assert '"username":' in page.content()


def test_a_cookie_of_another_application_does_not_end_the_session(secured: SecuredApp, visit: Visitors) -> None:  # noqa: ARG001
    """With `theme=grün` the sign-in page came again after each signing in."""
    page = visit()
    page.goto("/sign-in")
    page.evaluate("document.cookie = 'theme=grün; path=/'; document.cookie = 'other=\"half; path=/'")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.heading(page)).to_have_text("Dashboard")
    page.goto("/people")
    expect(steps.heading(page)).to_have_text("Users")
    assert any(cookie["name"] == "theme" and "ü" in cookie["value"] for cookie in page.context.cookies())
