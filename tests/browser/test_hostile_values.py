"""Hostile values in each field that a page shows: no script runs, they are shown as text, pages keep their width."""

from urllib.parse import urlencode

import pytest
import steps
from accessibility import require_no_overflow
from playwright.sync_api import Page, expect
from visitors import NARROW, Visitors

from tests.attack.hostile import LONG, MARK, MARKUP, TEXTS
from tests.support.secured_app import PASSWORD, SecuredApp

_WATCH = f"""
window.{MARK} = () => {{ window.ran = true; }};
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
# A value that became an element or an attribute, or an address that is a script or leads elsewhere. A field with the
# name `attributes` hides the property of its form.
_MARKUP = f"""() => [...document.querySelectorAll("*")].filter((node) => {{
    const names = Element.prototype.getAttributeNames.call(node);
    const addresses = names.filter((name) => ["href", "src", "action", "formaction"].includes(name));
    const isOwn = (address) => /^(\\/(?![\\/\\\\])|#|http:\\/\\/localhost|$)/.test(address);
    return node.localName.includes("{MARK}") || names.some((name) => name.includes("{MARK}") || name.startsWith("on"))
        || addresses.some((name) => !isOwn(Element.prototype.getAttribute.call(node, name)));
}}).map((node) => node.outerHTML.slice(0, 200))"""


def shown_texts(field: str, secured: SecuredApp) -> list[str]:
    """The hostile texts that the API takes in a field of a user, each stored in one user."""
    taken = []
    for number, text in enumerate(TEXTS):
        body = {"username": f"hostile-{number}", field: {text: text} if field == "attributes" else text}
        if secured.admin.post("/users", body).status_code == 201:
            taken.append(text)
    return taken


def require_harmless(page: Page) -> None:
    """Require that no value of the page became a part of the page, wide or narrow."""
    assert page.evaluate("[window.ran, window.violations]") == [None, []], page.url
    assert page.evaluate(_MARKUP) == [], page.url
    size = page.viewport_size
    page.set_viewport_size({"width": NARROW, "height": 740})
    require_no_overflow(page)
    assert size is not None
    page.set_viewport_size(size)


@pytest.fixture
def watched(page: Page) -> Page:
    """A page that records scripts of hostile values, and violations of the Content-Security-Policy."""
    page.add_init_script(_WATCH)
    return page


@pytest.mark.parametrize("field", ["name", "username", "email", "attributes"])
def test_a_stored_value_is_shown_as_text(watched: Page, secured: SecuredApp, field: str) -> None:
    texts = shown_texts(field, secured)
    assert texts or field == "email"
    watched.goto("/people?limit=200&sort=created_at")
    require_harmless(watched)
    shown = watched.locator("body").text_content() or ""
    users = [user for user in secured.admin.walk(limit=200) if user["username"].startswith("hostile-") or user[field]]
    for user in users:
        assert " ".join(user["name"].split()) in " ".join(shown.split())
    for user in users[:: 1 + len(users) // 8]:
        watched.goto(f"/people/{user['id']}")
        require_harmless(watched)
        for name in ("name", "username", "email"):
            expect(steps.field(watched, name)).to_have_value(user[name] or "")
    watched.goto("/overview")
    require_harmless(watched)


def test_a_value_that_is_refused_is_shown_as_text(watched: Page) -> None:
    for text in [text for text in TEXTS if text.isprintable() and MARK in text]:
        steps.create_user(watched, name=text, username=f"a b{text}", email=text, attributes=text, password="short")
        steps.invalid_fields(watched).first.wait_for()
        expect(steps.field(watched, "name")).to_have_value(text)
        require_harmless(watched)
        watched.goto("about:blank")


@pytest.mark.parametrize("path", ["/people", "/sign-in", "/api-tokens", "/people/new", "/overview"])
def test_a_value_of_an_address_is_shown_as_text(watched: Page, visit: Visitors, path: str) -> None:
    visit.allow("status of 4")
    names = ["q", "role", "sort", "filters", "undo", "next", "attributes.x", "user_id", "self"]
    chunks = [TEXTS[first : first + len(names)] for first in range(0, len(TEXTS), len(names))]
    for texts in [*chunks, [MARKUP] * len(names), [LONG] * len(names)]:
        # The message about an unknown parameter quotes the first one.
        query = {texts[0][:50]: "x", **dict(zip(names, (text[:500] for text in texts), strict=False))}
        watched.goto(f"{path}?{urlencode({'done': 'deleted', **query})}")
        require_harmless(watched)


def test_a_token_and_a_history_show_values_as_text(watched: Page, secured: SecuredApp) -> None:
    user = secured.create_user("viewer", username="someone", password=PASSWORD)
    # The page of a user shows the newest entries, so markup comes last.
    for text in reversed(TEXTS):
        body = {"name": text, "role": "viewer", "user_id": user["id"]}
        if secured.admin.post("/tokens", body).status_code == 201:
            agent = text.encode("latin-1", "replace").decode("latin-1")
            headers = {"User-Agent": agent if agent.isprintable() else "x"}
            secured.admin.patch(f"/users/{user['id']}", {"name": text, "attributes": {text: text}}, headers=headers)
    for path in ("/api-tokens", f"/people/{user['id']}", "/overview"):
        watched.goto(path)
        require_harmless(watched)
    secured.admin.delete(f"/users/{user['id']}")
    watched.goto(f"/people/{user['id']}")
    require_harmless(watched)
