"""Spellings of one mailbox or username are one user in every interface."""

# ruff: noqa: RUF001 - letters that look alike are the point

import itertools
from collections.abc import Callable

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from app.errors import AlreadyTaken
from app.http.services import services
from tests.support.api_client import ApiClient
from tests.support.bulk_calls import apply_bulk, bulk_refusal, target_of
from tests.support.console_client import send
from tests.support.secured_app import PASSWORD, SecuredApp
from tests.support.spellings import ANNA, SPELLINGS, WRITES, Write, refusal, taken_refusal

PAIRS = [
    *(("email", ANNA, other) for other in SPELLINGS),
    ("username", "Straße１", "STRASSE1"),
    ("username", "ﬁona", "fi\u00adona"),
    ("username", ANNA, SPELLINGS[0]),
]
"""A field, and two spellings of one value."""

pairs = pytest.mark.parametrize(("field", "one", "other"), PAIRS)


@pytest.fixture
def flask(app: Flask, api: ApiClient) -> Callable[..., Result]:  # noqa: ARG001 - on empty tables
    """Run `flask WORDS`."""
    return lambda *words, stdin=None: app.test_cli_runner().invoke(args=list(words), input=stdin)


@pairs
@WRITES
def test_no_write_gives_one_identifier_to_two_users(
    api: ApiClient, write: Write, field: str, one: str, other: str
) -> None:
    """All spellings of an identifier count as the same identifier."""
    first = api.create_user(**{"username": "first", field: one})
    assert first[field] == one
    second = api.create_user(username="second")
    assert refusal(write(api, second["id"], {"username": "other", field: other})) == taken_refusal(field)
    api.delete(f"/users/{first['id']}")
    response = api.post("/users", {"username": "third", field: other})
    assert (response.status_code, response.json[field]) == (201, other)
    assert refusal(api.post(f"/users/{first['id']}/restore")) == taken_refusal(field)


@pairs
def test_a_user_may_change_the_spelling_of_the_own_identifier(api: ApiClient, field: str, one: str, other: str) -> None:
    """What is shown is as it was sent."""
    user = api.create_user(**{"username": "own", field: one})
    changed = api.patch(f"/users/{user['id']}", {field: other})
    assert (changed.status_code, changed.json[field], changed.json["version"]) == (200, other, 2)


@pairs
def test_filters_and_commands_find_every_spelling(
    api: ApiClient, flask: Callable[..., Result], field: str, one: str, other: str
) -> None:
    """All spellings of an identifier count as the same identifier."""
    user = api.create_user(**{"username": "own", field: one})
    api.create_user(username="someone", email="else@bucher.example")
    for spelling in (one, other):
        assert [found["id"] for found in api.list_users(**{field: spelling})] == [user["id"]]
        done = flask("users", "unlock", spelling)
        assert done.output == f"{user['username']} is unlocked.\n"
    api.delete(f"/users/{user['id']}")
    assert [found["id"] for found in api.list_users(deleted="true", **{field: other})] == [user["id"]]


@pairs
@pytest.mark.usefixtures("without_refusal_delay")
def test_every_spelling_signs_in(secured_app: SecuredApp, field: str, one: str, other: str) -> None:
    """All spellings of an identifier count as the same identifier."""
    user = secured_app.create_user(**{"username": "own", "password": PASSWORD, field: one})
    for spelling in (one, other):
        for offered in {field, "username"}:
            response = secured_app.sign_in({offered: spelling, "password": PASSWORD})
            assert (response.status_code, response.json["user"]["id"]) == (201, user["id"])


@pairs
def test_the_console_and_commands_refuse_another_spelling(
    admin: FlaskClient, flask: Callable[..., Result], field: str, one: str, other: str
) -> None:
    """All spellings of an identifier count as the same identifier."""
    fields = {"name": "Anna", "role": "member", "active": "on", "attributes": "{}"}
    assert send(admin, "/people/new", **{"username": "first", field: one, **fields}).status_code == 303
    response = send(admin, "/people/new", **{"username": "second", field: other, **fields})
    assert response.status_code == 409
    assert "Is taken by another user" in response.text
    words = {"--username": "second", f"--{field}": other}
    done = flask("users", "create", *itertools.chain(*words.items()), "--password-stdin", stdin=PASSWORD)
    assert done.exit_code == 1
    assert f"Another user has this {field}." in done.output


@pairs
def test_a_bulk_restore_gives_no_two_users_one_identifier(
    secured_app: SecuredApp, field: str, one: str, other: str
) -> None:
    """All spellings of an identifier count as the same identifier."""
    users = []
    for number, spelling in enumerate((one, other)):
        users.append(secured_app.create_user(**{"username": f"user{number}", field: spelling}))
        apply_bulk(secured_app, "delete", target_of(users[-1:]))
    assert f"the {field} of" in bulk_refusal(AlreadyTaken, secured_app, "restore", target_of(users))
    apply_bulk(secured_app, "restore", target_of(users[:1]))
    assert f"the {field} of" in bulk_refusal(AlreadyTaken, secured_app, "restore", target_of(users[1:]))


@pytest.mark.parametrize("spelling", [ANNA, *SPELLINGS])
def test_no_spelling_of_an_own_identifier_is_a_password(api: ApiClient, spelling: str) -> None:
    """All spellings of an identifier count as the same identifier."""
    response = api.post("/users", {"username": "anna", "email": ANNA, "password": spelling})
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "password")


@pytest.mark.parametrize("spelling", [ANNA, *SPELLINGS])
def test_the_administrator_of_the_settings_is_the_user_who_has_the_mailbox(
    make_app: Callable[..., Flask], api: ApiClient, spelling: str
) -> None:
    """ADMIN_EMAIL in another spelling creates no user."""
    anna = api.create_user(email=ANNA, username="anna")
    with make_app(admin_email=spelling, admin_password=PASSWORD).app_context():
        services().bootstrap_admin.create_from_settings()
    session = api.post("/session", {"email": ANNA, "password": PASSWORD}).json
    assert (session["role"], session["user"]["id"]) == ("admin", anna["id"])
