"""Fault 33: the page of the API has a policy, as all pages have; what the policy blocks there fails these tests."""

from playwright.sync_api import Page, expect
from visiting import Visitors

from tests.support.secured_app import SecuredApp

_PATIENCE_MS = 30_000
"""Swagger UI draws a lot, on two cores."""


def test_the_api_is_tried_under_the_policy(page: Page, closed: SecuredApp) -> None:
    page.set_default_timeout(_PATIENCE_MS)
    answer = page.goto("/api/docs")
    assert answer is not None
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    me = page.locator("#operations-me-getMe")
    me.locator(".opblock-summary-control").click()
    me.get_by_role("button", name="Execute").click()
    given = me.locator(".live-responses-table").first
    expect(given).to_contain_text(closed.admin.id, timeout=_PATIENCE_MS)
    # Its style sheet has arrived: without it no operation has a colour.
    assert me.evaluate("block => getComputedStyle(block).backgroundColor") != "rgba(0, 0, 0, 0)"


def test_operations_and_credentials_open_under_the_policy(visit: Visitors, closed: SecuredApp) -> None:  # noqa: ARG001
    page = visit()
    page.set_default_timeout(_PATIENCE_MS)
    page.goto("/api/docs")
    for name in ("users-createUser", "session-signIn"):
        page.locator(f"#operations-{name} .opblock-summary-control").click()
        expect(page.locator(f"#operations-{name}.is-open")).to_be_visible(timeout=_PATIENCE_MS)
    page.get_by_role("button", name="Authorize").first.click()
    expect(page.get_by_role("heading", name="Available authorizations")).to_be_visible(timeout=_PATIENCE_MS)
