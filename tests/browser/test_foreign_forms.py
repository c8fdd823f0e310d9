"""Fault 29: a form that another site fills is not found after signing in, and no password is sent on."""

import steps
from playwright.sync_api import Page, Request, Route, expect
from serving import Site
from visiting import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp

FOREIGN = "http://other.example/"
FORM = """<form method="post" action="{url}/people/new"><input name="name" value="Mallory">
<input name="username" value="mallory"><input name="role" value="admin"><button>Win a prize</button></form>"""


def test_a_form_that_another_site_fills_is_gone_after_signing_in(
    closed: SecuredApp, place: Site, visit: Visitors
) -> None:
    page = visit()
    visit.allow("other.example")
    page.route(FOREIGN, lambda route: _fulfil(route, place.url))
    page.goto(FOREIGN)
    steps.press(page, "Win a prize")
    expect(steps.heading(page)).to_have_text("Sign in")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.heading(page)).to_have_text("Overview")
    assert "Mallory" not in page.content()
    assert len(closed.admin.listed()) == 1


def test_no_request_but_signing_in_holds_the_password(page: Page, closed: SecuredApp) -> None:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))  # noqa: PLW0108 - Playwright marks what it calls
    page.goto("/people/new")
    steps.describe(page, name="Zoë", username="zoe", password="a secret of zoe")
    closed.admin.delete(f"/users/{closed.admin.user['id']}/sessions")
    steps.press(page, "Make this person")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.field(page, "name")).to_have_value("Zoë")
    posts = [request.post_data or "" for request in sent if request.method == "POST" and "/sign-in" not in request.url]
    assert len(posts) == 2
    assert all("correct" not in body for body in posts)
    assert "secret" not in posts[-1]


def _fulfil(route: Route, url: str) -> None:
    route.fulfill(content_type="text/html", body=FORM.format(url=url))
