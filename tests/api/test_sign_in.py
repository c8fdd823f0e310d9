"""Sign-in: it does not reveal users, and each attempt is in the history."""

import pytest

from app.auth import login, passwords
from tests.support.secured_app import PASSWORD, SecuredApp, cookie_of

NEW = "another horse battery"
ADA = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}

# One test overrides this, to test the delay of a refused sign-in.
pytestmark = pytest.mark.usefixtures("without_refusal_delay")


# Who is there


@pytest.mark.parametrize(
    "login", [{"username": "ada"}, {"username": "ADA"}, {"username": "Ada@Example.org"}, {"email": "ADA@EXAMPLE.ORG"}]
)
def test_username_and_email_let_in_in_any_case(secured_app: SecuredApp, login: dict[str, str]) -> None:
    user = secured_app.create_user(**ADA)
    response = secured_app.sign_in({**login, "password": PASSWORD})
    assert response.status_code == 201
    shown = response.json
    assert (shown["kind"], shown["role"], shown["user"]) == ("session", "member", user)
    assert response.headers["Cache-Control"] == "no-store"
    client = secured_app.cookie_client(cookie_of(response), user)
    assert client.get("/session").json["session"]["id"] == shown["session"]["id"]


def test_an_email_is_not_hidden_by_a_username_that_looks_like_it(secured_app: SecuredApp) -> None:
    ada = secured_app.create_user(**{**ADA, "username": "ada"})
    hiding = {"username": "ada@example.org", "email": "eve@example.org", "password": NEW}
    assert secured_app.admin.post("/users", hiding).status_code == 409
    for field in ("username", "email"):
        assert secured_app.sign_in({field: "ada@example.org", "password": PASSWORD}).json["user"]["id"] == ada["id"]
        assert secured_app.sign_in({field: "ada@example.org", "password": NEW}).status_code == 401


def test_a_refused_sign_in_is_the_same_for_known_and_unknown_users(
    secured_app: SecuredApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    secured_app.create_user(**ADA)
    secured_app.create_user(username="asleep", password=PASSWORD, active=False)
    secured_app.create_user(username="speechless")
    gone = secured_app.create_user(username="gone", password=PASSWORD)
    secured_app.admin.delete(f"/users/{gone['id']}")
    verified, waited = [], []

    verify = passwords.pwhash.verify

    def noted(kept: bytes, offered: bytes) -> bool:
        verified.append(passwords.is_outdated(kept.decode()))
        return verify(kept, offered)

    class Clock:
        time, monotonic, sleep = login.time.time, staticmethod(lambda: 7.0), staticmethod(waited.append)

    monkeypatch.setattr(passwords.pwhash, "verify", noted)
    monkeypatch.setattr(login, "REFUSAL_S", 0.15)
    monkeypatch.setattr(login, "time", Clock)
    refused = [
        secured_app.sign_in({"username": username, "password": password})
        for username, password in [
            ("nobody", PASSWORD),
            ("ada", NEW),
            ("ada", ""),
            ("asleep", PASSWORD),
            ("asleep", NEW),
            ("speechless", PASSWORD),
            ("speechless", ""),
            ("gone", PASSWORD),
        ]
    ]
    assert [response.status_code for response in refused] == [401] * 8
    bodies = [{**response.json, "instance": ""} for response in refused]
    assert all(body == bodies[0] for body in bodies)
    names = [sorted(name for name, _ in response.headers if name != "X-Request-ID") for response in refused]
    assert all(name == names[0] for name in names)
    assert verified == [False] * 8, "one hashing each, with today's parameters"
    assert waited == [pytest.approx(0.15)] * 8


def test_the_password_of_an_unknown_user_is_compared_with_a_hash_of_todays_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def noted(kept: bytes, offered: bytes) -> bool:
        compared.append(kept.decode())
        return verify(kept, offered)

    verify = passwords.pwhash.verify
    monkeypatch.setattr(passwords.pwhash, "verify", noted)
    assert passwords.verify(PASSWORD, None) is False
    assert [passwords.is_outdated(kept) for kept in compared] == [False]


@pytest.mark.parametrize("username", ["ada\0", "ada\0x", "ada@example.org\0", "\0"])
def test_a_username_with_u0000_signs_no_user_in(secured_app: SecuredApp, username: str) -> None:
    """Otherwise guesses would be counted for one name and tried on another."""
    secured_app.create_user(**ADA)
    assert secured_app.sign_in({"username": username, "password": PASSWORD}).status_code == 400
    response = secured_app.anonymous.flask_client.post("/sign-in", data={"username": username, "password": PASSWORD})
    assert response.status_code == 401
    assert "Set-Cookie" not in response.headers


# What it costs, and what it leaves behind


def test_signing_in_takes_two_round_trips_to_redis(secured_app: SecuredApp, commands: list[str]) -> None:
    """All limits, and then the session with what it forgives."""
    secured_app.create_user(**ADA)
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201
    commands.clear()
    assert secured_app.sign_in({"username": "ada", "password": PASSWORD}).status_code == 201
    assert commands == ["EVAL", "EVAL"]


def test_history_tells_of_each_attempt_from_where_it_was_made(secured_app: SecuredApp) -> None:
    ada = secured_app.create_user(**ADA)
    for password, status in [(NEW, 401), *[(PASSWORD, 201)] * 2, *[(NEW, 401)] * 5, *[(NEW, 429)] * 2]:
        body = {"email": ADA["email"], "password": password}
        assert secured_app.sign_in(body, "198.51.100.7", **{"User-Agent": "Browser/2"}).status_code == status
    entries = secured_app.admin.get(f"/users/{ada['id']}/history").json
    failed = ["sign_in_failed"]
    assert [entry["action"] for entry in entries] == [
        "sign_in_locked", *5 * failed, *["signed_in"] * 2, *failed, "created"
    ]  # fmt: skip
    assert {(entry["address"], entry["agent"], entry["version"]) for entry in entries[:-1]} == {
        ("198.51.100.7", "Browser/2", ada["version"])
    }
    assert {entry["actor"] for entry in entries if entry["action"] == "signed_in"} == {f"user:{ada['id']}"}
    assert all(entry["changes"] == [] and entry["request_id"] for entry in entries[:-1])
