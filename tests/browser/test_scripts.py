"""Pages with scripts: search while typing, selection, copying, timestamps, conflicts and lost connections."""

import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import steps
from live_site import Site
from playwright.sync_api import Page, expect
from visitors import Visitors

from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.fixture
def crowd(secured: SecuredApp) -> list[str]:
    """The names of 60 users, two pages."""
    names = [f"User {number:02}" for number in range(60)]
    for name in names:
        secured.create_user(name=name, username=name.replace(" ", "-").lower())
    return names


def test_the_list_is_searched_while_typing_and_its_address_can_be_shared(
    page: Page, secured: SecuredApp, visit: Visitors
) -> None:
    for name in ("Zoë Martin", "Zora Neale", "Bob"):
        secured.create_user(name=name, username=name.split()[0].lower())
    page.goto("/people?sort=-name")
    page.get_by_role("searchbox").press_sequentially("zo", delay=30)
    expect(page.locator("#list")).to_have_attribute("data-q", "zo")
    expect(steps.user_link(page, "Bob")).to_have_count(0)
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page).to_have_url(re.compile(r"/people\?q=zo&sort=-name$|/people\?sort=-name&q=zo$"))
    expect(page.locator("#announcement")).to_have_text("2 users")
    other = visit(secured.session_cookie(secured.admin.user))
    other.goto(page.url)
    expect(steps.user_link(other, "Zora Neale")).to_be_visible()
    expect(steps.user_link(other, "Bob")).to_have_count(0)
    page.get_by_role("searchbox").fill("")
    expect(steps.user_link(page, "Bob")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/people\?sort=-name$"))


def test_chips_filter_at_once(page: Page, secured: SecuredApp) -> None:
    secured.create_user("viewer", name="Zoë", username="zoe")
    secured.create_user(name="Bob", username="bob", active=False)
    page.goto("/people")
    page.locator(".chip", has_text="inactive").click()
    expect(steps.user_link(page, "Zoë")).to_have_count(0)
    expect(steps.user_link(page, "Bob")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/people\?active=false$"))
    page.locator(".chip", has_text="viewer").click()
    expect(page.get_by_text("No users match.")).to_be_visible()


def test_a_filter_in_the_address_is_a_chip_that_can_be_removed(page: Page, secured: SecuredApp) -> None:
    secured.create_user(name="Pro", username="pro", attributes={"plan": "pro"})
    secured.create_user(name="Free", username="free", attributes={"plan": "free"})
    page.goto("/people?attributes.plan=pro")
    expect(steps.user_link(page, "Free")).to_have_count(0)
    page.get_by_role("searchbox").fill("pro")
    expect(page).to_have_url(re.compile(r"attributes.plan=pro&q=pro|q=pro&attributes.plan=pro"))
    page.get_by_role("link", name="attributes.plan: pro").click()
    page.goto("/people")
    expect(steps.user_link(page, "Free")).to_be_visible()


def test_the_back_link_keeps_page_and_sort(page: Page, crowd: list[str]) -> None:
    page.goto("/people")
    page.get_by_role("link", name="Name", exact=True).click()
    expect(page).to_have_url(re.compile(r"sort=name"))
    page.get_by_role("link", name=re.compile("^Next")).click()
    expect(steps.user_link(page, crowd[-1])).to_be_visible()
    second = page.url
    steps.user_link(page, crowd[-1]).click()
    page.get_by_role("link", name="← Users").click()
    expect(steps.user_link(page, crowd[-1])).to_be_visible()
    assert page.url == second
    page.go_back()
    page.go_back()
    expect(page).to_have_url(second)
    page.go_back()
    expect(steps.user_link(page, crowd[0])).to_be_visible()


def test_selected_users_are_changed_at_once(page: Page, crowd: list[str]) -> None:
    page.goto("/people?sort=name")
    deactivate = page.get_by_role("button", name="Deactivate")
    expect(deactivate).to_have_count(0)
    for name in crowd[:2]:
        page.get_by_role("checkbox", name=f"Select {name}").check()
    deactivate.click()
    expect(steps.heading(page)).to_have_text("Deactivate 2 users?")
    steps.press(page, "Deactivate")
    expect(steps.notice(page)).to_have_text("2 users updated.")
    expect(page).to_have_url(re.compile(r"/people\?sort=name$"))
    expect(page.get_by_role("row").filter(has_text=crowd[1])).to_contain_text("inactive")
    expect(page.get_by_role("row").filter(has_text=crowd[2])).not_to_contain_text("inactive")


def test_all_matching_users_are_deleted_after_confirmation_and_restored_by_undo(page: Page, crowd: list[str]) -> None:
    page.goto("/people?q=user&sort=name")
    page.get_by_role("checkbox", name="Select all users on this page").check()
    expect(page.get_by_role("checkbox", name=f"Select {crowd[7]}")).to_be_checked()
    page.get_by_role("checkbox", name="Select all matching users on every page").check()
    steps.press(page, "Delete")
    expect(steps.heading(page)).to_have_text("Delete 60 users?")
    steps.press(page, "Delete")
    expect(steps.notice(page)).to_contain_text("60 users moved to the trash.")
    expect(page.get_by_text("No users match.")).to_be_visible()
    steps.press(page, "Undo")
    expect(steps.notice(page)).to_have_text("60 users restored.")
    expect(page).to_have_url(re.compile(r"/people\?q=user&sort=name$"))


def test_a_conflict_is_resolved_field_by_field(page: Page, secured: SecuredApp) -> None:
    bob = secured.create_user(name="Bob", username="bob", email="bob@example.org")
    page.goto(f"/people/{bob['id']}")
    theirs = {"name": "Theirs", "role": "viewer", "email": "theirs@example.org", "attributes": {"plan": "theirs"}}
    secured.admin.patch(f"/users/{bob['id']}", theirs)
    steps.fill_fields(page, name="Mine", role="editor", attributes='{"plan": "mine"}')
    steps.save(page)
    expect(steps.alert(page)).to_contain_text("Your changes are kept in the form")
    expect(steps.field(page, "email")).to_have_value("theirs@example.org")
    page.get_by_role("radio", name="Saved value: viewer").check()
    expect(steps.field(page, "role")).to_have_value("viewer")
    page.get_by_role("radio", name="Saved value: Theirs").check()
    steps.fill_fields(page, name="Neither")
    expect(page.get_by_role("radio", name="Your value: Mine")).to_be_checked()
    steps.save(page)
    expect(steps.heading(page)).to_have_text("Neither")
    user = secured.admin.get(f"/users/{bob['id']}").json
    chosen = {name: user[name] for name in ("name", "role", "email", "attributes")}
    assert chosen == {**theirs, "name": "Neither", "attributes": {"plan": "mine"}}


def test_a_form_survives_the_end_of_the_session(page: Page, secured: SecuredApp) -> None:
    page.goto("/people/new")
    steps.fill_fields(page, name="Zoë", username="zoe", role="editor", attributes='{"plan": "pro"}', password=PASSWORD)
    secured.admin.delete(f"/users/{secured.admin.user['id']}/sessions")
    steps.press(page, "Create user")
    expect(steps.alert(page)).to_contain_text("continue with your input")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(page.get_by_text("not saved yet")).to_be_visible()
    expect(steps.field(page, "name")).to_have_value("Zoë")
    expect(steps.field(page, "role")).to_have_value("editor")
    expect(steps.field(page, "password")).to_have_value("")
    steps.press(page, "Create user")
    expect(steps.heading(page)).to_have_text("Zoë")


def test_a_search_without_session_leads_to_sign_in_and_back(page: Page, secured: SecuredApp, visit: Visitors) -> None:
    secured.create_user(name="Bob", username="bob")
    visit.allow("status of 401")
    page.goto("/people?sort=name")
    secured.admin.delete(f"/users/{secured.admin.user['id']}/sessions")
    page.get_by_role("searchbox").fill("bob")
    expect(steps.heading(page)).to_have_text("Sign in")
    steps.sign_in(page, "ada@example.org", PASSWORD)
    expect(steps.user_link(page, "Bob")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/people\?sort=name$"))


def test_a_double_click_submits_once(page: Page, secured: SecuredApp) -> None:
    page.goto("/api-tokens")
    page.get_by_label("Token name", exact=True).fill("ci")
    page.get_by_role("button", name="Create token").dblclick()
    expect(steps.secret(page)).to_have_value(re.compile("^fsa_"))
    assert len(secured.admin.get("/tokens").json) == 1


def test_a_secret_is_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/api-tokens")
    steps.create_token(page, "ci")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == steps.secret(page).input_value()


@pytest.mark.parametrize(
    ("locale", "timezone", "shown"),
    [
        ("en-GB", "Europe/Paris", "31 Jan 2026, 21:30"),
        ("fr-FR", "America/New_York", "31 janv. 2026, 15:30"),
        ("en-GB", "Asia/Tokyo", "1 Feb 2026, 05:30"),
    ],
)
def test_timestamps_are_in_the_time_zone_and_language_of_the_browser(
    live_site: Site, secured: SecuredApp, visit: Visitors, locale: str, timezone: str, shown: str
) -> None:
    bob = secured.create_user(name="Bob", username="bob")
    with psycopg.connect(live_site.database_url, autocommit=True) as connection:
        connection.execute("UPDATE users SET created_at = '2026-01-31T20:30:00Z' WHERE id = %s", [bob["id"]])
        connection.execute("UPDATE history SET created_at = now() - interval '3 minutes 5 seconds'")
    page = visit(secured.session_cookie(secured.admin.user), locale=locale, timezone=timezone)
    page.goto(f"/people/{bob['id']}")
    # Intl takes the day and month of the region; English here is that of the page, not of a country.
    found = page.locator("dd time").first
    expect(found).to_have_attribute("datetime", "2026-01-31T20:30:00.000000Z")
    wanted = {"en-GB": shown, "fr-FR": shown}[locale]
    day, _, hour = wanted.partition(", ")
    expect(found).to_contain_text(re.compile(_either(day, hour)))
    ago = "il y a 3 minutes" if locale == "fr-FR" else "3 minutes ago"
    expect(page.locator(".items time").first).to_have_text(ago)


def _either(day: str, hour: str) -> str:
    """A pattern for the timestamp in British English, American English or French."""
    moment = datetime.strptime(hour, "%H:%M").replace(tzinfo=UTC)
    twelve = moment.strftime("%I:%M").lstrip("0")
    month_first = re.sub(r"^(\d+) (\w+) (\d+)$", r"\2 \1, \3", day)
    return f"(?:{re.escape(day)}|{re.escape(month_first)}).*(?:{hour}|{twelve})"


def test_a_french_browser_gets_french_and_can_switch(secured: SecuredApp, visit: Visitors) -> None:
    page = visit(secured.session_cookie(secured.admin.user), locale="fr-FR")
    page.goto("/people")
    expect(steps.heading(page)).to_have_text("Utilisateurs")
    assert page.locator("html").get_attribute("lang") == "fr"
    page.get_by_role("button", name="English").click()
    expect(steps.heading(page)).to_have_text("Users")
    page.get_by_role("link", name="Dashboard").click()
    expect(steps.heading(page)).to_have_text("Dashboard")


def test_health_is_refreshed(page: Page) -> None:
    page.clock.install()
    page.goto("/overview")
    expect(page.get_by_role("heading", name="All systems operational")).to_be_visible()
    with page.expect_response("**/overview/health") as caught:
        page.clock.fast_forward(timedelta(seconds=6).seconds * 1000)
    assert caught.value.status == 200
    assert "cookie" not in caught.value.request.all_headers()
    expect(page.get_by_role("heading", name="All systems operational")).to_be_visible()


def test_a_lost_connection_is_shown_until_the_service_responds(
    page: Page, secured: SecuredApp, visit: Visitors
) -> None:
    secured.create_user(name="Bob", username="bob")
    visit.allow("ERR_FAILED|ERR_CONNECTION|Failed to fetch|htmx:error")
    page.goto("/people")
    page.route("**/people?*", lambda route: route.abort())
    page.get_by_role("searchbox").fill("bo")
    expect(steps.alert(page)).to_contain_text("not responding")
    page.unroute("**/people?*")
    page.get_by_role("searchbox").fill("bob")
    expect(steps.alert(page)).to_have_count(0)
    expect(steps.user_link(page, "Bob")).to_be_visible()


def test_older_activity_is_loaded_on_request(page: Page, secured: SecuredApp) -> None:
    bob = secured.create_user(name="Bob 0", username="bob")
    for number in range(1, 25):
        secured.admin.patch(f"/users/{bob['id']}", {"name": f"Bob {number}"})
    page.goto(f"/people/{bob['id']}")
    activity = page.get_by_role("region", name="Activity")
    expect(activity.get_by_text("Bob 24", exact=True)).to_be_visible()
    expect(activity.locator("ins", has_text=re.compile("^Bob 1$"))).to_have_count(0)
    activity.get_by_role("link", name="Show older").click()
    expect(activity.locator("ins", has_text=re.compile("^Bob 1$"))).to_be_visible()
    expect(activity.get_by_role("link", name="Show older")).to_have_count(0)
    expect(activity).to_contain_text("by Ada Lovelace")
