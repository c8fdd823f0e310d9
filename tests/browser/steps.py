"""What people do on the pages, by role and label: what a page calls a thing is written here once."""

import re

from playwright.sync_api import Locator, Page

# Each field of a person as its form calls it.
_FIELDS = {
    "name": "Name",
    "username": "Username",
    "email": "Email",
    "role": "Role",
    "attributes": re.compile("^Attributes"),
    "password": re.compile("^(New password|Password)$"),
}


def field(page: Page, name: str) -> Locator:
    """A field of the form of a person."""
    return page.get_by_label(_FIELDS[name], exact=True)


def heading(page: Page) -> Locator:
    """What the page says that it is."""
    return page.get_by_role("heading", level=1)


def faulty(page: Page) -> Locator:
    """The fields that the page says are faulty."""
    return page.locator("[aria-invalid=true]")


def alert(page: Page) -> Locator:
    """What the page says is wrong with all that was sent."""
    return page.get_by_role("alert")


def press(page: Page | Locator, name: str | re.Pattern[str]) -> None:
    """Press a button."""
    page.get_by_role("button", name=name, exact=True).click()


def sign_in(page: Page, username: str, password: str) -> None:
    """Fill in the form for signing in, and send it."""
    page.get_by_label("Username or email", exact=True).fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    press(page, "Sign in")


def found(page: Page, **given: str) -> None:
    """Fill in the form for the first administrator, and send it."""
    labels = {"name": "Your name", "email": "Email", "password": "Password"}
    for name, value in given.items():
        page.get_by_label(labels[name], exact=True).fill(value)
    press(page, "Make the first administrator")


def describe(page: Page, **given: str) -> None:
    """Fill in some fields of a person."""
    for name, value in given.items():
        if name == "role":
            field(page, name).select_option(value)
        else:
            field(page, name).fill(value)


def make_person(page: Page, **given: str) -> None:
    """Make a person from the list."""
    page.goto("/people")
    page.get_by_role("link", name="New person").click()
    describe(page, **given)
    press(page, "Make this person")


def save(page: Page) -> None:
    """Save the person whose page is open."""
    press(page, "Save")


def delete(page: Page) -> None:
    """Put the person whose page is open into the trash."""
    press(page, re.compile("^Delete"))


def search(page: Page, text: str) -> None:
    """Search the list that is open, with Enter."""
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("searchbox").press("Enter")


def listed(page: Page, name: str) -> Locator:
    """The link to a person in the list."""
    return page.get_by_role("main").get_by_role("link", name=name, exact=True)


def make_token(page: Page, name: str) -> None:
    """Make an API token on its page."""
    page.get_by_label("What for", exact=True).fill(name)
    press(page, "Make the token")


def token(page: Page, name: str) -> Locator:
    """An API token in the list."""
    return page.get_by_role("listitem").filter(has_text=name)


def news(page: Page) -> Locator:
    """What the page says was done."""
    return page.locator(".news")


def secret(page: Page) -> Locator:
    """The secret of a token that was just made."""
    return page.get_by_label(re.compile("never shown again"))


def change_password(page: Page, current: str, new: str) -> None:
    """Fill in the form for a new password, and send it."""
    page.get_by_label("Current password", exact=True).fill(current)
    page.get_by_label("New password", exact=True).fill(new)
    press(page, "Change it")
