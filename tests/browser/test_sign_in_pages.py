"""Setup, sign-in, sign-out and changing the password."""

import re

import pytest
import steps
from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp

NEW = "another long password"


@pytest.mark.usefixtures("setup_mode")
def test_the_first_visitor_creates_the_administrator_and_ends_setup_mode(visit: Visitors) -> None:
    page, anonymous = visit(), visit()
    anonymous.goto("/people")
    expect(steps.heading(anonymous)).to_have_text("Users")
    page.goto("/")
    steps.create_first_admin(page, name="Grace Hopper", email="grace@example.org", password=PASSWORD)
    expect(steps.heading(page)).to_have_text("Dashboard")
    expect(page.get_by_role("link", name="Grace Hopper")).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    anonymous.goto("/people")
    expect(steps.heading(anonymous)).to_have_text("Sign in")


@pytest.mark.usefixtures("setup_mode")
def test_a_weak_password_is_refused_at_its_field_and_other_input_stays(visit: Visitors) -> None:
    page = visit()
    page.goto("/")
    steps.create_first_admin(page, name="Grace Hopper", email="grace@example.org", password="password1234")
    password = page.get_by_label("Password", exact=True)
    expect(password).to_have_attribute("aria-invalid", "true")
    expect(password).to_have_accessible_description(re.compile("common"))
    expect(page.get_by_label("Email", exact=True)).to_have_value("grace@example.org")


def test_a_wrong_password_is_reported_and_the_right_one_leads_to_the_requested_page(
    secured: SecuredApp, visit: Visitors
) -> None:
    bob = secured.create_user(name="Bob", username="bob")
    page = visit()
    page.goto(f"/people/{bob['id']}")
    steps.sign_in(page, "ada@example.org", "something else")
    expect(steps.alert(page)).to_contain_text("incorrect")
    expect(page.get_by_label("Username or email")).to_have_value("ada@example.org")
    expect(page.get_by_label("Password", exact=True)).to_have_value("")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.heading(page)).to_have_text("Bob")
    assert page.url.endswith(f"/people/{bob['id']}")


def test_signing_out_ends_access(page: Page) -> None:
    page.goto("/people")
    steps.press(page, "Sign out")
    expect(steps.heading(page)).to_have_text("Sign in")
    page.go_back()
    page.reload()
    expect(steps.heading(page)).to_have_text("Sign in")


def test_a_new_password_replaces_the_old_one(page: Page, secured: SecuredApp, visit: Visitors) -> None:
    elsewhere = visit(secured.session_cookie(secured.admin.user))
    page.goto("/password")
    steps.change_password(page, "something else", NEW)
    expect(steps.alert(page)).to_contain_text("incorrect")
    expect(page.get_by_label("Current password", exact=True)).to_have_accessible_description(re.compile("incorrect"))
    steps.change_password(page, PASSWORD, NEW)
    expect(steps.heading(page)).to_have_text("Ada Lovelace")
    elsewhere.goto("/people")
    expect(steps.heading(elsewhere)).to_have_text("Sign in")
    steps.sign_in(elsewhere, "ada@example.org", NEW)
    expect(steps.heading(elsewhere)).to_have_text("Users")
