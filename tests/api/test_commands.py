"""The commands `flask users` and `flask tokens`."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.command_calls import PASSWORD, ada

ROOT = Path(__file__).resolve().parents[2]
OTHER = "staple and another horse"
ORIGIN = {"Origin": "http://localhost"}


def sign_in(app: Flask, password: str = PASSWORD, email: str = "ada@example.org") -> tuple[int, Any]:
    """The status, and the browser that is signed in then."""
    browser = app.test_client()
    response = browser.post("/api/session", json={"email": email, "password": password}, headers=ORIGIN)
    return response.status_code, browser


def history(browser: Any) -> list[dict[str, Any]]:
    me = browser.get("/api/me").json["id"]
    return browser.get(f"/api/users/{me}/history").json


def test_creating_the_first_administrator_secures_the_service(
    app: Flask, api: ApiClient, flask: Callable[..., Result]
) -> None:
    assert api.get("/users").status_code == 200
    done = ada(flask, "--name", "Ada Lovelace", "--username", "ada")
    assert re.match(
        r"Created the user ada with the role admin and the id [0-9a-f-]{36}\.\nThe service is secured now", done.stdout
    )
    assert PASSWORD not in done.output
    assert api.get("/users").status_code == 401
    status, browser = sign_in(app)
    assert status == 201
    me = browser.get("/api/me").json
    assert (me["username"], me["name"], me["role"]) == ("ada", "Ada Lovelace", "admin")
    assert history(browser)[-1]["actor"] == "flask users create"


def test_only_the_first_administrator_secures_the_service(flask: Callable[..., Result], api: ApiClient) -> None:
    assert "secured" not in ada(flask, role="member").output
    assert api.get("/users").status_code == 200
    more = flask("users", "create", "--username", "root", "--role", "admin", "--password-stdin", stdin=PASSWORD)
    assert "secured" in more.output
    again = flask("users", "create", "--username", "root2", "--role", "admin", "--password-stdin", stdin=PASSWORD)
    assert again.exit_code == 0
    assert "secured" not in again.output


@pytest.mark.parametrize(
    ("words", "stdin", "sentence"),
    [
        (("--email", "nonsense"), PASSWORD, "email: is not an email address"),
        (("--email", "bob@example.org"), "short", "password: must have 10 to 128 characters"),
        (("--email", "bob@example.org"), "", "password: must have 10 to 128 characters"),
        (("--email", "bob@example.org"), "password123", "password: is one of the most common"),
        (
            ("--email", "bob@example.org"),
            "bob@example.org",
            "password: must not be the username, email or name of the user",
        ),
        (("--email", "bob@example.org"), f"{PASSWORD}\n{PASSWORD}\n", "several lines"),
        (("--email", "ADA@example.org"), PASSWORD, "Another user has this"),
    ],
)
def test_create_reports_why_a_user_is_refused(
    flask: Callable[..., Result], words: tuple[str, ...], stdin: str, sentence: str
) -> None:
    ada(flask)
    done = flask("users", "create", *words, "--password-stdin", stdin=stdin)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert sentence in done.stderr
    assert done.stdout == ""


def test_a_user_needs_a_name_and_a_known_role(flask: Callable[..., Result]) -> None:
    assert "--email or --username" in flask("users", "create", "--password-stdin", stdin=PASSWORD).stderr
    wrong = flask("users", "create", "--email", "a@example.org", "--role", "root", "--password-stdin", stdin=PASSWORD)
    assert wrong.exit_code == 2
    assert "'member', 'viewer', 'editor', 'admin'" in wrong.stderr


def test_a_password_can_not_be_an_argument(flask: Callable[..., Result]) -> None:
    done = flask("users", "create", "--email", "ada@example.org", "--password", PASSWORD)
    assert done.exit_code == 2
    assert "No such option" in done.stderr


def test_without_a_terminal_a_password_is_not_asked_for(flask: Callable[..., Result]) -> None:
    done = flask("users", "create", "--email", "ada@example.org", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 1
    assert "--password-stdin" in done.stderr


@pytest.mark.usefixtures("empty")
def test_on_a_terminal_a_password_is_asked_for_twice_and_never_shown(app: Flask, servers: Stack) -> None:
    env = {**os.environ, "DATABASE_URL": servers.postgres.url, "REDIS_URL": servers.redis.url}
    words = (sys.executable, "-m", "flask", "--app", "app", "users", "create", "--email", "ada@example.org")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=env,
        # So that getpass finds this terminal, and not the one of who runs the tests.
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = read_to(ours, "Password: ")
        os.write(ours, f"{PASSWORD}\n".encode())
        shown += read_to(ours, "Repeat the password: ")
        os.write(ours, f"{PASSWORD}\n".encode())
        shown += read_to(ours, "Created the user ada@example.org with the role member")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert PASSWORD not in shown
    assert sign_in(app)[0] == 201


def read_to(terminal: int, end: str) -> str:
    """What the terminal shows, up to `end`."""
    seen, deadline = "", time.monotonic() + 30
    while end not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 4096).decode()
    return seen


def test_a_new_password_ends_sessions_and_allows_sign_in(app: Flask, flask: Callable[..., Result]) -> None:
    ada(flask)
    _, browser = sign_in(app)
    while sign_in(app, OTHER)[0] != 429:
        pass
    done = flask("users", "password", "ADA@example.org", "--password-stdin", stdin=f"{OTHER}\n")
    assert done.exit_code == 0
    assert done.stdout == "The password of ada@example.org is changed. All sessions of the user have ended.\n"
    assert browser.get("/api/session").status_code == 401
    status, browser = sign_in(app, OTHER)
    assert status == 201
    entries = [(one["action"], one["actor"]) for one in history(browser)]
    assert ("changed", "flask users password") in entries
    assert ("unlocked", "flask users password") in entries


def test_a_locked_user_is_unlocked(app: Flask, flask: Callable[..., Result]) -> None:
    ada(flask, "--username", "ada")
    while sign_in(app, OTHER)[0] != 429:
        pass
    assert sign_in(app)[0] == 429
    assert flask("users", "unlock", "ada").stdout == "ada is unlocked.\n"
    assert sign_in(app)[0] == 201


@pytest.mark.parametrize(
    "words",
    [
        ("users", "unlock", "nobody"),
        ("users", "password", "nobody", "--password-stdin"),
        ("tokens", "create", "--name", "ci", "--role", "viewer", "--user", "nobody"),
    ],
)
def test_an_unknown_user_is_named_in_the_error(flask: Callable[..., Result], words: tuple[str, ...]) -> None:
    done = flask(*words, stdin=PASSWORD)
    assert done.exit_code == 1
    assert done.stderr == "Error: There is no user with the username or email nobody.\n"


@pytest.mark.parametrize(
    "words",
    [
        ("users", "unlock", "{}"),
        ("users", "password", "{}", "--password-stdin"),
        ("tokens", "create", "--name", "ci", "--role", "member", "--user", "{}"),
    ],
)
@pytest.mark.parametrize("meets", ["email", "id"])
def test_an_ambiguous_name_is_refused(
    api: ApiClient, flask: Callable[..., Result], words: tuple[str, ...], meets: str
) -> None:
    """`flask users password NAME` changed another user when the name was ambiguous."""
    boss = api.create_user(username="boss", email="boss@corp.example")
    taken = api.post("/users", {"username": boss[meets], "name": "Mallory"})
    if taken.status_code == 409:
        # Then only rows of an earlier release can meet so.
        return
    done = flask(*(word.format(boss[meets]) for word in words), stdin=OTHER)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert f"{boss[meets]} matches several users" in done.stderr
    assert {one["id"] for one in (boss, taken.json)} == set(re.findall(r"(?m)^  ([0-9a-f-]{36})  ", done.stderr))
    assert {one["version"] for one in api.list_users()} == {1}
    done = flask("users", "password", "boss", "--password-stdin", stdin=OTHER)
    assert done.stdout.startswith("The password of boss is changed")


@pytest.mark.parametrize("field", ["username", "email", "id"])
def test_a_user_is_named_by_username_email_or_id(api: ApiClient, flask: Callable[..., Result], field: str) -> None:
    """The id selects one of several users with the same name."""
    users = [
        api.create_user(username="boss", email="boss@corp.example"),
        api.create_user(username="corp", email="c@corp.example"),
    ]
    done = flask("users", "password", users[0][field], "--password-stdin", stdin=OTHER)
    assert done.stdout == "The password of boss is changed. All sessions of the user have ended.\n"
    assert [api.get(f"/users/{user['id']}").json["version"] for user in users] == [2, 1]


def test_a_new_token_prints_only_its_secret_on_standard_output(api: ApiClient, flask: Callable[..., Result]) -> None:
    ada(flask)
    words = ("--name", "ci", "--role", "viewer", "--user", "ada@example.org", "--expires-in", "90d")
    done = flask("tokens", "create", *words)
    assert done.exit_code == 0
    assert re.fullmatch(r"fsa_[0-9A-Za-z]{49}\n", done.stdout)
    assert "acts for ada@example.org as viewer, until 20" in done.stderr
    bearer = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert api.get("/users", headers=bearer).status_code == 200
    assert api.post("/users", {"username": "bob"}, headers=bearer).status_code == 403
    assert api.get("/session", headers=bearer).json["role"] == "viewer"
    user_id = api.get("/users", headers=bearer).json[0]["id"]
    assert api.get(f"/users/{user_id}/history", headers=bearer).json[0]["actor"] == "flask tokens create"


def test_tokens_are_listed_without_their_secrets_and_revoked(api: ApiClient, flask: Callable[..., Result]) -> None:
    ada(flask)
    secret = flask("tokens", "create", "--name", "ci", "--role", "admin", "--user", "ada@example.org").stdout.strip()
    bearer = {"Authorization": f"Bearer {secret}"}
    head, row = flask("tokens", "list").stdout.splitlines()
    assert head.split() == ["id", "name", "role", "username", "created_at", "expires_at", "last_used_at"]
    token_id, *words = row.split()
    assert words[:3] == ["ci", "admin", "ada@example.org"]
    assert words[4:] == ["never", "never"]
    assert secret not in row
    assert api.get("/users", headers=bearer).status_code == 200
    assert flask("tokens", "revoke", token_id).stdout == "Revoked.\n"
    assert api.get("/users", headers=bearer).status_code == 401
    for unknown in (token_id, "nonsense"):
        done = flask("tokens", "revoke", unknown)
        assert (done.exit_code, done.stderr) == (1, "Error: There is no such token.\n")


@pytest.mark.parametrize("text", ["90", "0d", "-1d", "1y", "99999d", "soon", "", "٣d"])
def test_an_invalid_token_lifetime_is_refused(flask: Callable[..., Result], text: str) -> None:
    words = ("--name", "ci", "--role", "viewer", "--user", "ada", f"--expires-in={text}")
    done = flask("tokens", "create", *words)
    assert done.exit_code == 2
    assert "12h, 90d or 52w" in done.stderr


def test_a_token_is_never_above_its_user(flask: Callable[..., Result]) -> None:
    ada(flask, role="viewer")
    done = flask("tokens", "create", "--name", "ci", "--role", "admin", "--user", "ada@example.org")
    assert done.exit_code == 1
    assert "role: must not be higher than the role of the user, viewer" in done.stderr


def test_without_redis_no_unlock_is_reported(make_app: Callable[..., Flask], flask: Callable[..., Result]) -> None:
    ada(flask)
    lone = make_app(redis_url="redis://127.0.0.1:1/0").test_cli_runner()
    done = lone.invoke(args=["users", "unlock", "ada@example.org"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Redis is unavailable" in done.stderr
    done = lone.invoke(args=["users", "password", "ada@example.org", "--password-stdin"], input=OTHER)
    assert done.exit_code == 1
    assert "is changed" in done.stdout


def test_every_command_of_ours_has_help_with_an_example(flask: Callable[..., Result]) -> None:
    for words in (("users", "create"), ("users", "password"), ("users", "unlock"), ("users", "demo"), ("doctor",)):
        assert "Example: " in flask(*words, "--help").output, words
    for word in ("create", "list", "revoke"):
        assert "Example: flask tokens" in flask("tokens", word, "--help").output
