"""Every page of the console, in each of its states, as somebody comes to it."""

import re
from collections.abc import Callable

import steps
from playwright.sync_api import Page
from strange import NAMES

from tests.support.secured_app import PASSWORD, SecuredApp

Look = Callable[..., Page]
"""Opens a page, given the cookie of who is signed in: light, dark, on a narrow screen ..."""


def fill(house: SecuredApp) -> dict[str, str]:
    """Put people into a service, some with names that are hard to show. Returns the ids of some, by role."""
    long = {"note": "word " * 60, "unbroken": "x" * 300, "nested": {"list": [1, 2, 3]}}
    ids = {
        role: house.make(role, name=f"Some {role.title()}", username=f"some-{role}", attributes=long)["id"]
        for role in ("member", "viewer", "editor")
    }
    for number, name in enumerate(NAMES.values()):
        house.make(name=name, email=f"{'endless-address-' * 3}{number}@example.org", active=number % 2 == 0)
    gone = house.make(name=NAMES["long"], username="gone")["id"]
    house.admin.delete(f"/users/{gone}")
    house.token(house.admin.user, "viewer", name="Nightly export " + "x" * 100)
    return ids


def _by(house: SecuredApp, look: Look, role: str | None = None) -> tuple[Page, dict[str, str]]:
    """A page of the administrator, or of somebody of this role; and who is there."""
    ids = fill(house)
    who = {"id": ids[role]} if role else house.admin.user
    return look(house.secret(who)), ids


def _at(path: str, role: str | None = None) -> Callable[[SecuredApp, Look], Page]:
    """Come to a path; `{member}` in it is the id of a member."""

    def arrive(house: SecuredApp, look: Look) -> Page:
        page, ids = _by(house, look, role)
        page.goto(path.format(**ids))
        return page

    return arrive


def _sign_in(_: SecuredApp, look: Look) -> Page:
    page = look()
    page.goto("/sign-in")
    return page


def _sign_in_refused(house: SecuredApp, look: Look) -> Page:
    page = _sign_in(house, look)
    steps.sign_in(page, "ada@example.org", "something else")
    steps.alert(page).wait_for()
    return page


def _after_deleting(house: SecuredApp, look: Look) -> Page:
    page, ids = _by(house, look)
    page.goto(f"/people/{ids['member']}")
    steps.delete(page)
    page.get_by_role("button", name="Undo").wait_for()
    return page


def _new_refused(house: SecuredApp, look: Look) -> Page:
    page, _ = _by(house, look)
    steps.make_person(page, name="x" * 300, username="a b", attributes="{", password="short")
    steps.faulty(page).first.wait_for()
    return page


def _conflict(house: SecuredApp, look: Look) -> Page:
    page, ids = _by(house, look)
    page.goto(f"/people/{ids['member']}")
    house.admin.patch(f"/users/{ids['member']}", {"name": "Theirs " * 20, "role": "viewer"})
    steps.describe(page, name="Mine " * 20)
    steps.save(page)
    steps.alert(page).wait_for()
    return page


def _password_refused(house: SecuredApp, look: Look) -> Page:
    page, _ = _by(house, look)
    page.goto("/password")
    steps.change_password(page, "something else", "another long password")
    steps.alert(page).wait_for()
    return page


def _token_made(house: SecuredApp, look: Look) -> Page:
    page, _ = _by(house, look)
    page.goto("/api-tokens")
    steps.make_token(page, "ci")
    steps.secret(page).wait_for()
    return page


def _picked(house: SecuredApp, look: Look) -> Page:
    page, _ = _by(house, look)
    page.goto("/people")
    page.get_by_role("checkbox", name="Pick Some Viewer").check()
    page.get_by_role("button", name="Deactivate").wait_for()
    return page


def _asked_for_all(house: SecuredApp, look: Look) -> Page:
    for number in range(60):
        house.make(username=f"crowd-{number}")
    page, _ = _by(house, look)
    page.goto("/people?q=crowd")
    page.get_by_role("checkbox", name="Pick crowd-59").check()
    page.get_by_role("checkbox", name="All that match").check()
    steps.press(page, "Delete")
    page.get_by_role("heading", name="Delete 60 users?").wait_for()
    return page


def _asked_for_picked(house: SecuredApp, look: Look) -> Page:
    page = _picked(house, look)
    steps.press(page, "Deactivate")
    page.get_by_role("heading", name="Deactivate one user?").wait_for()
    return page


def _locked(house: SecuredApp, look: Look) -> Page:
    page, ids = _by(house, look)
    for _ in range(5):
        house.sign_in({"username": "some-member", "password": "something else"})
    page.goto(f"/people/{ids['member']}")
    page.get_by_role("button", name="Unlock").wait_for()
    return page


def _trashed(house: SecuredApp, look: Look) -> Page:
    page = _at("/people?deleted=true")(house, look)
    page.get_by_role("main").get_by_role("link", name=NAMES["long"]).click()
    page.get_by_text("In the trash").wait_for()
    return page


def _asked_to_purge(house: SecuredApp, look: Look) -> Page:
    page = _at("/people?deleted=true")(house, look)
    steps.press(page.get_by_role("row").last, re.compile("^Purge"))
    page.get_by_role("button", name="Remove for good").wait_for()
    return page


def _keys(house: SecuredApp, look: Look) -> Page:
    page = _at("/overview")(house, look)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    return page


def _french(house: SecuredApp, look: Look) -> Page:
    page = _at("/people")(house, look)
    page.get_by_role("button", name="Français").click()
    page.get_by_role("heading", name="Personnes").wait_for()
    return page


def _session_ended(house: SecuredApp, look: Look) -> Page:
    page, _ = _by(house, look)
    page.goto("/people/new")
    house.admin.delete(f"/users/{house.admin.user['id']}/sessions")
    steps.describe(page, name="Typed")
    steps.press(page, "Make this person")
    steps.alert(page).wait_for()
    return page


def _signed_in_again(house: SecuredApp, look: Look) -> Page:
    page = _session_ended(house, look)
    # The script would press the button.
    page.route("**/console.js", lambda route: route.fulfill(content_type="text/javascript", body=""))
    steps.sign_in(page, "ada@example.org", PASSWORD)
    page.get_by_role("button", name="Go back to the form").wait_for()
    return page


def _password_needed(house: SecuredApp, look: Look) -> Page:
    user = house.make(email="old@example.org", password=PASSWORD)
    page = look(house.secret(user, age_s=301.0))
    page.goto("/profile")
    steps.describe(page, email="new@example.org")
    steps.press(page, "Save")
    steps.alert(page).wait_for()
    return page


CLOSED: dict[str, Callable[[SecuredApp, Look], Page]] = {
    "sign-in": _sign_in,
    "sign-in, refused": _sign_in_refused,
    "overview": _at("/overview"),
    "people": _at("/people"),
    "people, searched": _at("/people?q=some&role=viewer&active=true&sort=-name"),
    "people, nobody fits": _at("/people?q=nobody-of-that-name"),
    "people, asked nonsense": _at("/people?role=king"),
    "people, after deleting": _after_deleting,
    "trash": _at("/people?deleted=true"),
    "trash, nobody fits": _at("/people?deleted=true&q=nobody-of-that-name"),
    "new person": _at("/people/new"),
    "new person, refused": _new_refused,
    "a person": _at("/people/{member}"),
    "a person, for a viewer": _at("/people/{member}", "viewer"),
    "a person, saved by two": _conflict,
    "oneself": _at("/profile"),
    "oneself, a member": _at("/profile", "member"),
    "oneself, long after signing in": _password_needed,
    "password": _at("/password"),
    "password, refused": _password_refused,
    "tokens": _at("/api-tokens"),
    "tokens, one made": _token_made,
    "people, some picked": _picked,
    "people, picked ones confirmed": _asked_for_picked,
    "people, all that match": _asked_for_all,
    "person, locked": _locked,
    "trash, a user": _trashed,
    "trash, before purging": _asked_to_purge,
    "shortcuts": _keys,
    "session ended": _session_ended,
    "signed in again": _signed_in_again,
    "in French": _french,
    "forbidden": _at("/people", "member"),
    "no such page": _at("/nowhere"),
    "no page, but where a form leads": _at("/sign-out"),
    "nobody there": _at("/people/01a20539-b121-7589-baaa-5c725ecb5923"),
}
"""On a closed service."""


def _first(look: Look) -> Page:
    page = look()
    page.goto("/")
    return page


def _first_refused(look: Look) -> Page:
    page = _first(look)
    steps.found(page, email="ada@localhost", password="password1234")
    steps.faulty(page).first.wait_for()
    return page


def _people_open(look: Look) -> Page:
    page = look()
    page.goto("/people")
    return page


OPENED: dict[str, Callable[[Look], Page]] = {
    "first visit": _first,
    "first visit, refused": _first_refused,
    "people, open to anybody": _people_open,
}
"""On an open service."""
