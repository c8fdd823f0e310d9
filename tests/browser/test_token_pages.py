"""API tokens in a browser."""

import re

import steps
from playwright.sync_api import Page, expect

from tests.support.secured_app import SecuredApp


def test_a_token_is_shown_once_works_and_is_revoked(page: Page, secured: SecuredApp) -> None:
    page.goto("/api-tokens")
    steps.create_token(page, "Nightly export")
    expect(steps.secret(page)).to_have_value(re.compile(r"^fsa_\w+$"))
    program = secured.bearer_client(steps.secret(page).input_value())
    assert program.get("/users").status_code == 200
    page.goto("/api-tokens")
    expect(steps.secret(page)).to_have_count(0)
    assert "fsa_" not in page.content().replace("fsa_session", "")
    steps.press(steps.token(page, "Nightly export"), re.compile("^Revoke"))
    expect(steps.token(page, "Nightly export")).to_have_count(0)
    assert program.get("/users").status_code == 401


def test_a_token_has_the_selected_role(page: Page) -> None:
    page.goto("/api-tokens")
    page.get_by_label("Role", exact=True).select_option("editor")
    page.get_by_label("Expiration", exact=True).select_option("30 days")
    steps.create_token(page, "ci")
    expect(steps.token(page, "ci")).to_contain_text("editor")
