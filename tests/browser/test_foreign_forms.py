"""A form of another site is dropped at sign-in, and no password is forwarded."""

import steps
from live_site import Site
from playwright.sync_api import Page, Request, Route, expect
from visitors import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp

FOREIGN = "http://other.example/"
FORM = """<form method="post" action="{url}/people/new"><input name="name" value="Mallory">
<input name="username" value="mallory"><input name="role" value="admin"><button>Win a prize</button></form>"""


def test_a_form_of_another_site_is_dropped_at_sign_in(secured: SecuredApp, live_site: Site, visit: Visitors) -> None:
    page = visit()
    visit.allow("other.example")
    page.route(FOREIGN, lambda route: _fulfil(route, live_site.url))
    page.goto(FOREIGN)
    steps.press(page, "Win a prize")
    expect(steps.heading(page)).to_have_text("Sign in")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.heading(page)).to_have_text("Dashboard")
    assert "Mallory" not in page.content()
    assert len(secured.admin.list_users()) == 1


def test_only_the_sign_in_request_contains_the_password(page: Page, secured: SecuredApp) -> None:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))  # noqa: PLW0108 - Playwright marks what it calls
    page.goto("/people/new")
    steps.fill_fields(page, name="Zoë", username="zoe", password="a secret of zoe")
    secured.admin.delete(f"/users/{secured.admin.user['id']}/sessions")
    steps.press(page, "Create user")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.field(page, "name")).to_have_value("Zoë")
    posts = [request.post_data or "" for request in sent if request.method == "POST" and "/sign-in" not in request.url]
    assert len(posts) == 2
    assert all("correct" not in body for body in posts)
    assert "secret" not in posts[-1]


def _fulfil(route: Route, url: str) -> None:
    route.fulfill(content_type="text/html", body=FORM.format(url=url))
