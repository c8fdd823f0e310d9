"""Unusual names are stored unchanged, fit the page, and are never interpreted as markup."""

import re
from urllib.parse import urlsplit

import pytest
import steps
from accessibility import require_no_overflow
from playwright.sync_api import Page, expect
from unusual_names import NAMES
from visitors import NARROW, Visitors

from tests.support.secured_app import SecuredApp


@pytest.mark.parametrize("kind", NAMES)
def test_an_unusual_name_is_stored_listed_found_and_fits(page: Page, kind: str) -> None:
    name = NAMES[kind]
    steps.create_user(page, name=name, username=f"unusual-{kind.lower()}")
    expect(steps.heading(page)).to_have_text(name)
    expect(steps.field(page, "name")).to_have_value(name)
    expect(page).to_have_title(re.compile(re.escape(name)))
    page.goto("/people")
    steps.search(page, f"unusual {kind}")
    expect(steps.user_link(page, name)).to_be_visible()
    page.set_viewport_size({"width": NARROW, "height": 740})
    require_no_overflow(page)
    steps.user_link(page, name).click()
    expect(steps.heading(page)).to_have_text(name)
    require_no_overflow(page)


def test_markup_in_any_field_is_only_text(page: Page, secured: SecuredApp, visit: Visitors) -> None:
    evil = NAMES["markup"]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    made = secured.create_user(
        name=evil, username='"><script>alert(1)</script>', attributes={evil: f"</textarea>{evil}"}
    )
    secured.token(secured.admin.user, "viewer", name=evil)
    secured.admin.patch(f"/users/{made['id']}", {"role": "viewer", "attributes": {"k": evil}})
    paths = ("/people", f"/people/{made['id']}", "/api-tokens", f"/people?q={evil}", f"/people?role={evil}")
    for path in paths:
        page.goto(path)
        assert page.locator("[onerror], img[src=x]").count() == 0
    page.goto(f"/people/{made['id']}")
    steps.delete(page)
    page.goto("/people?deleted=true")
    expect(page.get_by_role("row").filter(has_text=evil)).to_be_visible()
    assert page.title() != "1"
    assert [path for path in asked if path.endswith("/x")] == []
    assert visit.problems() == []
