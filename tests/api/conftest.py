"""What tests of sign-in and of the console share."""

from collections.abc import Callable
from typing import Any

import pytest
from browsing import PASSWORD, send
from door import Door
from flask import Flask
from flask.testing import FlaskClient
from people import House
from redis.connection import AbstractConnection


@pytest.fixture
def house(app: Flask, empty: Callable[[], None]) -> House:  # noqa: ARG001 - it is called for its effect
    """A closed service."""
    return House(app)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the commands that Redis is asked from now on; what is sent at once is one."""
    sent: list[str] = []
    send = AbstractConnection.send_packed_command

    def note(connection: AbstractConnection, command: Any, check_health: bool = True) -> None:  # noqa: FBT002
        first = b"".join([command] if isinstance(command, bytes) else command)
        sent.append(first.split(b"\r\n")[2].decode())
        send(connection, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", note)
    return sent


@pytest.fixture
def admin(app: Flask, api: Door) -> FlaskClient:
    """A browser in which an administrator has just signed in; `api` is on empty tables and closed now."""
    browser = app.test_client()
    made = browser.post("/first", data={"email": "ada@example.org", "name": "Ada", "password": PASSWORD})
    assert made.status_code == 303
    assert api.get("/users").status_code == 401
    return browser


@pytest.fixture
def sign_in(app: Flask, admin: FlaskClient) -> Callable[[str], FlaskClient]:
    """Make a user with a role, and a browser in which they have signed in."""

    def sign_in(role: str) -> FlaskClient:
        name = f"{role}-of-test"
        made = send(admin, "/people/new", name=name, username=name, role=role, active="on", password=PASSWORD)
        assert made.status_code == 303, made.text
        browser = app.test_client()
        assert send(browser, "/sign-in", username=name, password=PASSWORD).status_code == 303
        return browser

    return sign_in
