"""Every page of the console, in each of its states."""

import re
from collections.abc import Callable

import steps
from playwright.sync_api import Page
from unusual_names import NAMES

from app.http.services import services_of
from tests.support.secured_app import PASSWORD, SecuredApp

Look = Callable[..., Page]
"""Opens a page with the session cookie of a user: light, dark, on a narrow screen ..."""


def create_users(secured: SecuredApp) -> dict[str, str]:
    """Create users, some with unusual names. Returns the id of one user of each role."""
    long = {"note": "word " * 60, "unbroken": "x" * 300, "nested": {"list": [1, 2, 3]}}
    ids = {
        role: secured.create_user(role, name=f"Some {role.title()}", username=f"some-{role}", attributes=long)["id"]
        for role in ("member", "viewer", "editor")
    }
    for number, name in enumerate(NAMES.values()):
        secured.create_user(name=name, email=f"{'endless-address-' * 3}{number}@example.org", active=number % 2 == 0)
    gone = secured.create_user(name=NAMES["long"], username="gone")["id"]
    secured.admin.delete(f"/users/{gone}")
    secured.token(secured.admin.user, "viewer", name="Nightly export " + "x" * 100)
    return ids


def _by(secured: SecuredApp, look: Look, role: str | None = None) -> tuple[Page, dict[str, str]]:
    """A page of the administrator or of a user with this role, and the ids of the users."""
    ids = create_users(secured)
    who = {"id": ids[role]} if role else secured.admin.user
    return look(secured.session_cookie(who)), ids


def _at(path: str, role: str | None = None) -> Callable[[SecuredApp, Look], Page]:
    """Open a path. `{member}` in it is the id of a member."""

    def arrive(secured: SecuredApp, look: Look) -> Page:
        page, ids = _by(secured, look, role)
        page.goto(path.format(**ids))
        return page

    return arrive


def _sign_in(_: SecuredApp, look: Look) -> Page:
    page = look()
    page.goto("/sign-in")
    return page


def _failed_sign_in(secured: SecuredApp, look: Look) -> Page:
    page = _sign_in(secured, look)
    steps.sign_in(page, "ada@example.org", "something else")
    steps.alert(page).wait_for()
    return page


def _after_deleting(secured: SecuredApp, look: Look) -> Page:
    page, ids = _by(secured, look)
    page.goto(f"/people/{ids['member']}")
    steps.delete(page)
    page.get_by_role("button", name="Undo").wait_for()
    return page


def _invalid_new_user(secured: SecuredApp, look: Look) -> Page:
    page, _ = _by(secured, look)
    steps.create_user(page, name="x" * 300, username="a b", attributes="{", password="short")
    steps.invalid_fields(page).first.wait_for()
    return page


def _conflict(secured: SecuredApp, look: Look) -> Page:
    page, ids = _by(secured, look)
    page.goto(f"/people/{ids['member']}")
    secured.admin.patch(f"/users/{ids['member']}", {"name": "Theirs " * 20, "role": "viewer"})
    steps.fill_fields(page, name="Mine " * 20)
    steps.save(page)
    steps.alert(page).wait_for()
    return page


def _wrong_password(secured: SecuredApp, look: Look) -> Page:
    page, _ = _by(secured, look)
    page.goto("/password")
    steps.change_password(page, "something else", "another long password")
    steps.alert(page).wait_for()
    return page


def _created_token(secured: SecuredApp, look: Look) -> Page:
    page, _ = _by(secured, look)
    page.goto("/api-tokens")
    steps.create_token(page, "ci")
    steps.secret(page).wait_for()
    return page


def _selected(secured: SecuredApp, look: Look) -> Page:
    page, _ = _by(secured, look)
    page.goto("/people")
    page.get_by_role("checkbox", name="Select Some Viewer").check()
    page.get_by_role("button", name="Deactivate").wait_for()
    return page


def _confirm_all(secured: SecuredApp, look: Look) -> Page:
    for number in range(60):
        secured.create_user(username=f"crowd-{number}")
    page, _ = _by(secured, look)
    page.goto("/people?q=crowd")
    page.get_by_role("checkbox", name="Select crowd-59").check()
    page.get_by_role("checkbox", name="Select all matching users on every page").check()
    steps.press(page, "Delete")
    page.get_by_role("heading", name="Delete 60 users?").wait_for()
    return page


def _confirm_selected(secured: SecuredApp, look: Look) -> Page:
    page = _selected(secured, look)
    steps.press(page, "Deactivate")
    page.get_by_role("heading", name="Deactivate 1 user?").wait_for()
    return page


def _locked(secured: SecuredApp, look: Look) -> Page:
    page, ids = _by(secured, look)
    for _ in range(5):
        secured.sign_in({"username": "some-member", "password": "something else"})
    page.goto(f"/people/{ids['member']}")
    page.get_by_role("button", name="Unlock").wait_for()
    return page


def _pruned(secured: SecuredApp, look: Look) -> Page:
    page, ids = _by(secured, look)
    with services_of(secured.app).database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM history")
        connection.exec_driver_sql("INSERT INTO retention (kind, deleted, deleted_before) VALUES ('history', 9, now())")
    page.goto(f"/people/{ids['member']}")
    page.get_by_text("Entries were deleted because of their age").wait_for()
    return page


def _trashed(secured: SecuredApp, look: Look) -> Page:
    page = _at("/people?deleted=true")(secured, look)
    page.get_by_role("main").get_by_role("link", name=NAMES["long"]).click()
    page.get_by_text("In the trash").wait_for()
    page.get_by_text("It will be deleted permanently after this time").wait_for()
    return page


def _confirm_purge(secured: SecuredApp, look: Look) -> Page:
    page = _at("/people?deleted=true")(secured, look)
    steps.press(page.get_by_role("row").last, re.compile("^Delete permanently"))
    page.get_by_role("button", name="Delete permanently").wait_for()
    return page


def _shortcuts(secured: SecuredApp, look: Look) -> Page:
    page = _at("/overview")(secured, look)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    return page


def _french(secured: SecuredApp, look: Look) -> Page:
    page = _at("/people")(secured, look)
    page.get_by_role("button", name="Français").click()
    page.get_by_role("heading", name="Utilisateurs").wait_for()
    return page


def _session_ended(secured: SecuredApp, look: Look) -> Page:
    page, _ = _by(secured, look)
    page.goto("/people/new")
    secured.admin.delete(f"/users/{secured.admin.user['id']}/sessions")
    steps.fill_fields(page, name="Typed")
    steps.press(page, "Create user")
    steps.alert(page).wait_for()
    return page


def _signed_in_again(secured: SecuredApp, look: Look) -> Page:
    page = _session_ended(secured, look)
    # The script would submit the form.
    page.route("**/console.js", lambda route: route.fulfill(content_type="text/javascript", body=""))
    steps.sign_in(page, "ada@example.org", PASSWORD)
    page.get_by_role("button", name="Return to the form").wait_for()
    return page


def _password_needed(secured: SecuredApp, look: Look) -> Page:
    user = secured.create_user(email="old@example.org", password=PASSWORD)
    page = look(secured.session_cookie(user, age_s=301.0))
    page.goto("/profile")
    steps.fill_fields(page, email="new@example.org")
    steps.press(page, "Save")
    steps.alert(page).wait_for()
    return page


SECURED: dict[str, Callable[[SecuredApp, Look], Page]] = {
    "sign-in": _sign_in,
    "sign-in, failed": _failed_sign_in,
    "dashboard": _at("/overview"),
    "users": _at("/people"),
    "users, searched": _at("/people?q=some&role=viewer&active=true&sort=-name"),
    "users, no match": _at("/people?q=nobody-of-that-name"),
    "users, invalid address": _at("/people?role=king"),
    "users, after deleting": _after_deleting,
    "trash": _at("/people?deleted=true"),
    "trash, no match": _at("/people?deleted=true&q=nobody-of-that-name"),
    "new user": _at("/people/new"),
    "new user, invalid": _invalid_new_user,
    "user": _at("/people/{member}"),
    "user, for a viewer": _at("/people/{member}", "viewer"),
    "user, conflict": _conflict,
    "own page": _at("/profile"),
    "own page, member": _at("/profile", "member"),
    "own page, password required": _password_needed,
    "password": _at("/password"),
    "password, wrong": _wrong_password,
    "tokens": _at("/api-tokens"),
    "tokens, one created": _created_token,
    "users, some selected": _selected,
    "users, confirm selected": _confirm_selected,
    "users, confirm all": _confirm_all,
    "user, locked": _locked,
    "user, old history deleted": _pruned,
    "user in the trash": _trashed,
    "confirm purge": _confirm_purge,
    "shortcuts": _shortcuts,
    "session ended": _session_ended,
    "signed in again": _signed_in_again,
    "in French": _french,
    "forbidden": _at("/people", "member"),
    "no such page": _at("/nowhere"),
    "no page, forms only": _at("/sign-out"),
    "no such user": _at("/people/01a20539-b121-7589-baaa-5c725ecb5923"),
}
"""On a secured service."""


def _setup(look: Look) -> Page:
    page = look()
    page.goto("/")
    return page


def _invalid_setup(look: Look) -> Page:
    page = _setup(look)
    steps.create_first_admin(page, email="ada@localhost", password="password1234")
    steps.invalid_fields(page).first.wait_for()
    return page


def _users_in_setup_mode(look: Look) -> Page:
    page = look()
    page.goto("/people")
    return page


SETUP: dict[str, Callable[[Look], Page]] = {
    "setup": _setup,
    "setup, invalid": _invalid_setup,
    "users, setup mode": _users_in_setup_mode,
}
"""In setup mode."""
