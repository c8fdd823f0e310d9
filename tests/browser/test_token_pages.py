"""API tokens in a browser."""

import re

import steps
from playwright.sync_api import Page, expect

from tests.support.secured_app import SecuredApp


def test_a_token_is_shown_once_works_and_is_revoked(page: Page, closed: SecuredApp) -> None:
    page.goto("/api-tokens")
    steps.make_token(page, "Nightly export")
    expect(steps.secret(page)).to_have_value(re.compile(r"^fsa_\w+$"))
    program = closed.bearing(steps.secret(page).input_value())
    assert program.get("/users").status_code == 200
    page.goto("/api-tokens")
    expect(steps.secret(page)).to_have_count(0)
    assert "fsa_" not in page.content().replace("fsa_session", "")
    steps.press(steps.token(page, "Nightly export"), re.compile("^Revoke"))
    expect(steps.token(page, "Nightly export")).to_have_count(0)
    assert program.get("/users").status_code == 401


def test_the_role_of_a_token_is_the_one_that_was_chosen(page: Page) -> None:
    page.goto("/api-tokens")
    page.get_by_label("Role", exact=True).select_option("editor")
    page.get_by_label("Lasts", exact=True).select_option("30 days")
    steps.make_token(page, "ci")
    expect(steps.token(page, "ci")).to_contain_text("editor")
