"""What a browser shows when something is wrong with an address, and what cookies of others do not do."""

import pytest
import steps
from playwright.sync_api import Page, expect
from visiting import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.mark.parametrize(
    ("path", "way", "title"),
    [
        ("/nowhere", "Go on", "Overview"),
        ("/sign-out", "Go on", "Overview"),
        ("/users/nobody", "Go on", "People"),
        ("/people?limit=x", "Show everybody", "People"),
    ],
)
def test_a_wrong_address_is_a_page_with_a_way_back(page: Page, path: str, way: str, title: str) -> None:
    """Fault 11: it was JSON, or the text of a validator."""
    page.goto(path)
    page.get_by_role("link", name=way).click()
    expect(steps.heading(page)).to_have_text(title)


def test_who_is_not_signed_in_is_led_to_the_exercises_address(closed: SecuredApp, visit: Visitors) -> None:  # noqa: ARG001
    """Fault 11: `/users` in a browser said 401 in JSON."""
    page = visit()
    page.goto("/users")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    page.wait_for_url("**/users")
    assert '"username":' in page.content()


def test_a_cookie_of_another_application_does_not_end_the_session(closed: SecuredApp, visit: Visitors) -> None:  # noqa: ARG001
    """Fault 6: with `theme=grün` the sign-in page came again after each signing in."""
    page = visit()
    page.goto("/sign-in")
    page.evaluate("document.cookie = 'theme=grün; path=/'; document.cookie = 'other=\"half; path=/'")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.heading(page)).to_have_text("Overview")
    page.goto("/people")
    expect(steps.heading(page)).to_have_text("People")
    assert any(cookie["name"] == "theme" and "ü" in cookie["value"] for cookie in page.context.cookies())
