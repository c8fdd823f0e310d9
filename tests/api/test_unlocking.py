"""The button "Unlock" is shown only for users who are locked by failed sign-ins."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.console_client import PASSWORD, SAME_ORIGIN, create_user_page, send

pytestmark = pytest.mark.usefixtures("without_refusal_delay")
WRONG = "something else"
LOCKED = "This account is temporarily locked after too many failed sign-ins."


@pytest.fixture
def bob(admin: FlaskClient) -> str:
    """The path of the page of a user with a password."""
    return create_user_page(admin, name="Bob", username="bob", email="bob@example.org", password=PASSWORD)


@pytest.fixture
def guess(app: Flask) -> Callable[..., int]:
    """Try to sign in. Returns the status of each response."""

    def guess(times: int, login: str = "bob", password: str = WRONG, address: str = "192.0.2.9") -> list[int]:
        form = {"username": login, "password": password}
        origin = {"REMOTE_ADDR": address}
        return [
            app.test_client().post("/sign-in", data=form, headers=SAME_ORIGIN, environ_base=origin).status_code
            for _ in range(times)
        ]

    return guess


def is_offered(browser: FlaskClient, path: str) -> bool:
    """Whether the page says that the user is locked, and offers to unlock."""
    page = browser.get(path).text
    assert (LOCKED in page) is (f'action="{path}/unlock"' in page)
    return LOCKED in page


@pytest.mark.parametrize("login", ["bob", "BOB", "bob@example.org"])
def test_unlock_is_offered_once_the_next_attempt_would_be_refused(
    admin: FlaskClient, bob: str, guess: Callable[..., list[int]], login: str
) -> None:
    other = create_user_page(admin, name="Eve", username="eve", password=PASSWORD)
    assert not is_offered(admin, bob)
    assert guess(4, login) == [401] * 4
    assert not is_offered(admin, bob)
    assert guess(1, login) == [401]
    assert is_offered(admin, bob)
    assert guess(1, login, PASSWORD) == [429]
    assert is_offered(admin, bob)
    assert not is_offered(admin, other)
    assert send(admin, f"{bob}/unlock").location == f"{bob}?done=unlocked"
    assert not is_offered(admin, bob)
    assert guess(1, login, PASSWORD) == [303]


def test_a_successful_sign_in_resets_the_failures(
    admin: FlaskClient, bob: str, guess: Callable[..., list[int]]
) -> None:
    guess(4)
    assert guess(1, password=PASSWORD) == [303]
    guess(4)
    assert not is_offered(admin, bob)


def test_guesses_from_many_addresses_lock_too(admin: FlaskClient, bob: str, guess: Callable[..., list[int]]) -> None:
    for number in range(20):
        guess(5, address=f"198.51.100.{number}")
    assert is_offered(admin, bob)
    send(admin, f"{bob}/unlock")
    assert not is_offered(admin, bob)


def test_viewing_the_page_counts_no_attempt(admin: FlaskClient, bob: str, guess: Callable[..., list[int]]) -> None:
    guess(4)
    for _ in range(10):
        assert not is_offered(admin, bob)
    assert guess(1, password=PASSWORD) == [303]


def test_an_administrator_whose_own_name_is_guessed_can_unlock_it(
    admin: FlaskClient, guess: Callable[..., list[int]]
) -> None:
    own = admin.get("/profile").location
    guess(5, "ada@example.org")
    assert is_offered(admin, own)
    send(admin, f"{own}/unlock")
    assert not is_offered(admin, own)


def test_only_administrators_see_that_a_user_is_locked(
    bob: str, guess: Callable[..., list[int]], sign_in: Callable[[str], FlaskClient]
) -> None:
    guess(5)
    for role in ("viewer", "editor"):
        assert not is_offered(sign_in(role), bob)
