"""The API documentation works under its Content-Security-Policy."""

from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import SecuredApp

_TIMEOUT_MS = 30_000
"""Swagger UI renders slowly on two cores."""


def test_the_api_is_tried_under_the_policy(page: Page, secured: SecuredApp) -> None:
    page.set_default_timeout(_TIMEOUT_MS)
    answer = page.goto("/api/docs")
    assert answer is not None
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    me = page.locator("#operations-me-getMe")
    me.locator(".opblock-summary-control").click()
    me.get_by_role("button", name="Execute").click()
    given = me.locator(".live-responses-table").first
    expect(given).to_contain_text(secured.admin.id, timeout=_TIMEOUT_MS)
    # Without the style sheet, no operation has a background colour.
    assert me.evaluate("block => getComputedStyle(block).backgroundColor") != "rgba(0, 0, 0, 0)"


def test_operations_and_credentials_open_under_the_policy(visit: Visitors, secured: SecuredApp) -> None:  # noqa: ARG001
    page = visit()
    page.set_default_timeout(_TIMEOUT_MS)
    page.goto("/api/docs")
    for name in ("users-createUser", "session-signIn"):
        page.locator(f"#operations-{name} .opblock-summary-control").click()
        expect(page.locator(f"#operations-{name}.is-open")).to_be_visible(timeout=_TIMEOUT_MS)
    page.get_by_role("button", name="Authorize").first.click()
    expect(page.get_by_role("heading", name="Available authorizations")).to_be_visible(timeout=_TIMEOUT_MS)
