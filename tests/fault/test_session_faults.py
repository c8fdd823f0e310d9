"""Without Redis: sessions are unavailable, tokens work, and setup mode does not return."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.http.services import services_of
from embedded import Redis
from tests.support.secured_app import PASSWORD, SAME_ORIGIN, SecuredApp
from tests.support.waiting import wait_until

NEW = "another horse battery"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that tests stop. It keeps its data."""
    with Redis(tmp_path / "redis", settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


@pytest.fixture
def secured_app(make_app: Callable[..., Flask], own_redis: Redis, empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001
    """An application with an administrator, on `own_redis`."""
    return SecuredApp(make_app(redis_url=own_redis.url, log_level="error"))


def test_without_redis_sessions_are_503_and_tokens_work(secured_app: SecuredApp, own_redis: Redis) -> None:
    user = secured_app.create_user("editor", password=PASSWORD)
    browser, program, fresh = (
        secured_app.session_client(user),
        secured_app.token_client(user),
        secured_app.token_client(user, "viewer"),
    )
    assert browser.get("/me").status_code == program.get("/me").status_code == 200
    own_redis.kill()
    for _ in range(3):
        for path in ("/me", "/users", "/session", "/me/sessions"):
            response = browser.get(path)
            assert response.status_code == 503
            assert "Sessions are unavailable" in response.json["detail"]
        assert program.get("/me").status_code == 200
        assert program.patch("/me", {"name": "Ada"}).status_code == 200
        assert fresh.get("/users").status_code == 200
        assert program.get("/me/sessions").status_code == 503
        assert program.delete("/me/sessions").status_code == 503
        signing_in = secured_app.sign_in({"username": user["username"], "password": PASSWORD})
        assert signing_in.status_code == 503
        assert "Set-Cookie" not in signing_in.headers
        form = {"username": user["username"], "password": PASSWORD}
        page = secured_app.app.test_client().post("/sign-in", data=form, headers=SAME_ORIGIN)
        assert page.status_code == 503
        assert int(page.headers["Retry-After"]) >= 1
    own_redis.start()
    wait_until(lambda: browser.get("/me").status_code == 200, seconds=15)
    assert secured_app.sign_in({"username": user["username"], "password": PASSWORD}).status_code == 201


def test_without_redis_setup_mode_does_not_return(secured_app: SecuredApp, own_redis: Redis) -> None:
    forged = secured_app.cookie_client("x" * 43 + "." + "0" * 32)
    own_redis.kill()
    front = services_of(secured_app.app).admins
    assert front.is_secured()
    for _ in range(3):
        assert secured_app.anonymous.get("/users").status_code == 401
        assert secured_app.anonymous.post("/users", {"username": "new"}).status_code == 401
        assert forged.get("/users").status_code == 503
        assert secured_app.cookie_client("nonsense").get("/users").status_code == 401
        assert secured_app.bearer_client("fsa_nonsense").get("/users").status_code == 401
        assert secured_app.anonymous.get("/health").status_code == 200


def test_sessions_ended_during_a_redis_outage_stay_ended(secured_app: SecuredApp, own_redis: Redis) -> None:
    users = [secured_app.create_user(password=PASSWORD) for _ in range(3)]
    clients, program = (
        [secured_app.session_client(user) for user in users],
        secured_app.token_client(secured_app.admin.user),
    )
    for client in clients:
        assert client.get("/me").status_code == 200
    own_redis.kill()
    paths = [f"/users/{user['id']}" for user in users]
    assert program.patch(paths[0], {"password": NEW}).status_code == 200
    assert program.patch(paths[1], {"active": False}).status_code == 200
    assert program.delete(paths[2]).status_code == 204
    own_redis.start()
    wait_until(lambda: clients[0].get("/me").status_code != 503, seconds=15)
    assert [client.get("/me").status_code for client in clients] == [401] * 3


def test_tokens_revoked_during_a_redis_outage_stay_revoked(secured_app: SecuredApp, own_redis: Redis) -> None:
    user = secured_app.create_user("editor")
    token, program = secured_app.token(user), secured_app.token_client(secured_app.admin.user)
    lowered = secured_app.token_client(user)
    assert (
        secured_app.bearer_client(token["token"]).get("/users").status_code == lowered.get("/users").status_code == 200
    )
    own_redis.kill()
    assert program.delete(f"/tokens/{token['id']}").status_code == 204
    assert program.patch(f"/users/{user['id']}", {"role": "member"}).status_code == 200
    for _ in range(2):
        assert secured_app.bearer_client(token["token"]).get("/users").status_code == 401
        assert lowered.get("/users").status_code == 403
        own_redis.start()
        wait_until(lambda: secured_app.anonymous.get("/health").json["status"] == "ok", seconds=15)
