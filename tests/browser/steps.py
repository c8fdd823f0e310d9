"""Actions on the pages, by role and label. The labels of the pages are written here only."""

import re

from playwright.sync_api import Locator, Page

# Field to label in the user form.
_FIELDS = {
    "name": "Name",
    "username": "Username",
    "email": "Email",
    "role": "Role",
    "attributes": re.compile("^Attributes"),
    "password": re.compile("^(New password|Password)$"),
}


def field(page: Page, name: str) -> Locator:
    """A field of the user form."""
    return page.get_by_label(_FIELDS[name], exact=True)


def heading(page: Page) -> Locator:
    """The main heading."""
    return page.get_by_role("heading", level=1)


def invalid_fields(page: Page) -> Locator:
    """The fields that the page marks as invalid."""
    return page.locator("[aria-invalid=true]")


def alert(page: Page) -> Locator:
    """The alert of the page."""
    return page.get_by_role("alert")


def press(page: Page | Locator, name: str | re.Pattern[str]) -> None:
    """Click a button."""
    page.get_by_role("button", name=name, exact=True).click()


def sign_in(page: Page, username: str, password: str) -> None:
    """Submit the sign-in form."""
    page.get_by_label("Username or email", exact=True).fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    press(page, "Sign in")


def create_first_admin(page: Page, **given: str) -> None:
    """Submit the form for the first administrator."""
    labels = {"name": "Your name", "email": "Email", "password": "Password"}
    for name, value in given.items():
        page.get_by_label(labels[name], exact=True).fill(value)
    press(page, "Create administrator")


def fill_fields(page: Page, **given: str) -> None:
    """Fill in fields of the user form."""
    for name, value in given.items():
        if name == "role":
            field(page, name).select_option(value)
        else:
            field(page, name).fill(value)


def create_user(page: Page, **given: str) -> None:
    """Create a user, starting at the user list."""
    page.goto("/people")
    page.get_by_role("link", name="New user").click()
    fill_fields(page, **given)
    press(page, "Create user")


def save(page: Page) -> None:
    """Save the user whose page is open."""
    press(page, "Save")


def delete(page: Page) -> None:
    """Move the user whose page is open to the trash."""
    press(page, "Delete user")


def search(page: Page, text: str) -> None:
    """Search the open list, with Enter."""
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("searchbox").press("Enter")


def user_link(page: Page, name: str) -> Locator:
    """The link to a user in the list."""
    return page.get_by_role("main").get_by_role("link", name=name, exact=True)


def create_token(page: Page, name: str) -> None:
    """Create an API token on the token page."""
    page.get_by_label("Token name", exact=True).fill(name)
    press(page, "Create token")


def token(page: Page, name: str) -> Locator:
    """An API token in the list."""
    return page.get_by_role("listitem").filter(has_text=name)


def notice(page: Page) -> Locator:
    """The notice about the last action."""
    return page.locator(".notice.done")


def secret(page: Page) -> Locator:
    """The secret of the token that was just created."""
    return page.get_by_label(re.compile("not be shown again"))


def change_password(page: Page, current: str, new: str) -> None:
    """Submit the form that changes the own password."""
    page.get_by_label("Current password", exact=True).fill(current)
    page.get_by_label("New password", exact=True).fill(new)
    press(page, "Change password")
