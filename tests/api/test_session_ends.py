"""Changes that end sessions: of a password, of a user, and of Redis."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis

from app.auth.session_store import SessionStore
from embedded import Stack
from tests.support.secured_app import PASSWORD, SAME_ORIGIN, SecuredApp, UserClient, cookie_of
from tests.support.waiting import wait_until

NEW = "another horse battery"


@pytest.fixture(params=["told", "not told"])
def with_and_without_redis_deletes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with session deletes in Redis, once with deletes that fail."""
    if request.param == "not told":
        for name in ("delete", "delete_all"):
            monkeypatch.setattr(SessionStore, name, lambda *_: False)


@pytest.mark.usefixtures("with_and_without_redis_deletes")
@pytest.mark.parametrize("how", ["password", "own password", "no password", "deactivated", "deleted", "purged"])
def test_every_change_that_ends_all_sessions_ends_them_at_once(secured_app: SecuredApp, how: str) -> None:
    user = secured_app.create_user(password=PASSWORD)
    mine, path = [secured_app.session_client(user) for _ in range(3)], f"/users/{user['id']}"
    assert [client.get("/me").status_code for client in mine] == [200] * 3
    match how:
        case "password":
            secured_app.admin.patch(path, {"password": NEW})
        case "own password":
            assert mine[0].patch("/me", {"password": NEW}).status_code == 200
        case "no password":
            secured_app.admin.patch(path, {"password": None})
        case "deactivated":
            secured_app.admin.patch(path, {"active": False})
        case _:
            secured_app.admin.delete(path if how == "deleted" else f"{path}?purge=true")
    assert [client.get("/me").status_code for client in mine] == [401] * 3
    # Undoing the change signs no user in again.
    if how == "deactivated":
        secured_app.admin.patch(path, {"active": True})
    elif how == "deleted":
        assert secured_app.admin.post(f"{path}/restore").status_code == 200
    elif how == "purged":
        assert secured_app.admin.put(path, {"username": user["username"], "role": "admin"}).status_code == 201
    assert [client.get("/me").status_code for client in mine] == [401] * 3
    assert secured_app.admin.get(f"{path}/sessions").json == []


@pytest.mark.parametrize("purges", [1, 2])
def test_a_session_that_was_not_used_since_does_not_open_the_record_of_the_next_user(
    secured_app: SecuredApp, purges: int
) -> None:
    """A new user may have the id of a purged user."""
    user = secured_app.create_user()
    path, client = f"/users/{user['id']}", secured_app.session_client(user)
    for _ in range(purges):
        secured_app.admin.delete(f"{path}?purge=true")
        secured_app.admin.put(path, {"username": "next", "role": "admin"})
    assert client.get("/me").status_code == 401


def test_changing_ones_password_ends_all_but_this_session_which_gets_a_new_id(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(password=PASSWORD)
    one, other = secured_app.session_client(user), secured_app.session_client(user)
    response = one.put("/me/password", {"current_password": PASSWORD, "new_password": NEW})
    assert response.status_code == 204
    assert secured_app.cookie_client(cookie_of(response)).get("/me").status_code == 200
    assert one.get("/me").status_code == 401
    assert other.get("/me").status_code == 401
    assert secured_app.sign_in({"username": user["username"], "password": PASSWORD}).status_code == 401
    assert secured_app.sign_in({"username": user["username"], "password": NEW}).status_code == 201


def test_changing_ones_password_needs_the_present_one_and_guesses_are_counted(secured_app: SecuredApp) -> None:
    user = secured_app.create_user(password=PASSWORD)
    client = secured_app.session_client(user)
    guess = {"current_password": "guess", "new_password": NEW}
    assert [client.put("/me/password", guess).status_code for _ in range(6)] == [403] * 5 + [429]
    right = {**guess, "current_password": PASSWORD}
    assert client.put("/me/password", right).status_code == 429
    assert secured_app.admin.post(f"/users/{user['id']}/unlock").status_code == 204
    assert client.put("/me/password", right).status_code == 204


def test_a_user_without_a_password_cannot_confirm_with_one(secured_app: SecuredApp) -> None:
    client = secured_app.session_client(secured_app.create_user())
    assert client.put("/me/password", {"current_password": "", "new_password": NEW}).status_code == 403


def test_an_emptied_redis_ends_all_sessions_and_does_not_start_setup_mode(
    secured_app: SecuredApp, servers: Stack
) -> None:
    client: UserClient = secured_app.session_client(secured_app.create_user("editor"))
    with redis.Redis.from_url(servers.redis.url) as redis_client:
        redis_client.flushall()
    response = client.get("/users")
    assert response.status_code == 401
    assert cookie_of(response) == ""
    assert secured_app.anonymous.get("/users").status_code == 401
    assert secured_app.sign_in({"username": "root", "password": PASSWORD}, **SAME_ORIGIN).status_code == 201


def test_an_event_during_a_purge_is_refused_not_lost(
    secured_app: SecuredApp, database: psycopg.Connection[Any], servers: Stack
) -> None:
    user = secured_app.create_user(password=PASSWORD)
    path = f"/users/{user['id']}"
    secured_app.session_client(user)
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE history%'"
    with ThreadPoolExecutor() as thread:
        with psycopg.connect(servers.postgres.url) as other:
            other.execute("SELECT FROM history WHERE user_id = %s FOR UPDATE", [user["id"]])
            purged = thread.submit(secured_app.admin.delete, f"{path}?purge=true")
            wait_until(lambda: database.execute(waits).rowcount)
            refused = secured_app.admin.delete(f"{path}/sessions")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert purged.result().status_code == 204
    assert secured_app.admin.delete(f"{path}/sessions").status_code == 404
