"""Sessions: listed, ended and expired."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from app.auth.permissions import AuditContext
from app.errors import Unauthorized
from app.http.services import services
from embedded import Stack
from tests.support.api_client import is_timestamp
from tests.support.secured_app import SecuredApp, cookie_of

NEW = "another horse battery"
HOUR_S, DAY_S = 3600, 86400


class Clock:
    """The time of auth.sessions, which tests set forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.monotonic, self.sleep = time.monotonic, time.sleep

    def time(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.auth.sessions.time", clock)
    return clock


def ids(response: Any) -> set[str]:
    return {one["id"] for one in response.json}


def test_a_list_of_sessions_says_where_and_since_when(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    first, second = secured_app.session_client(user), secured_app.session_client(user)
    shown = first.get("/me/sessions").json
    assert len(shown) == 2
    for one in shown:
        assert one.keys() == {
            "id", "user_id", "address", "agent", "created_at", "last_seen_at", "expires_at", "current"
        }  # fmt: skip
        assert (one["user_id"], one["address"], one["agent"]) == (user["id"], "192.0.2.1", "Browser/1")
        assert all(is_timestamp(one[name]) for name in ("created_at", "last_seen_at", "expires_at"))
    assert [one["current"] for one in shown].count(True) == 1
    current = {one["id"] for one in shown if one["current"]}
    assert current != {one["id"] for one in second.get("/me/sessions").json if one["current"]}
    by_admin = secured_app.admin.get(f"/users/{user['id']}/sessions").json
    assert {one["id"] for one in by_admin} == {one["id"] for one in shown}
    assert not any(one["current"] for one in by_admin)


def test_the_list_of_sessions_contains_no_usable_secret(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    secret = secured_app.session_cookie(user)
    text = secured_app.admin.get(f"/users/{user['id']}/sessions").text
    assert secret.partition(".")[0] not in text
    (shown,) = secured_app.admin.get(f"/users/{user['id']}/sessions").json
    for guess in (shown["id"], f"{shown['id']}.{uuid.UUID(user['id']).hex}"):
        assert secured_app.cookie_client(guess).get("/me").status_code == 401


def test_redis_keeps_no_secret(secured_app: SecuredApp, servers: Stack) -> None:
    secret = secured_app.session_cookie(secured_app.create_user()).partition(".")[0].encode()
    with redis.Redis.from_url(servers.redis.url) as client:
        keys = list(client.scan_iter(count=1000))
        assert any(b"session" in key for key in keys)
        for key in keys:
            assert secret not in key
            assert secret not in client.dump(key)


def test_one_session_is_ended_and_the_others_stay(secured_app: SecuredApp) -> None:
    user = secured_app.create_user()
    one, other = secured_app.session_client(user), secured_app.session_client(user)
    (current,) = (session["id"] for session in one.get("/me/sessions").json if session["current"])
    assert other.delete(f"/me/sessions/{current}").status_code == 204
    assert one.get("/me").status_code == 401
    assert other.get("/me").status_code == 200
    assert other.delete(f"/me/sessions/{current}").status_code == 404


def test_ending_all_sessions_ends_the_current_one_and_no_other_users(secured_app: SecuredApp) -> None:
    user, other = secured_app.create_user(), secured_app.session_client(secured_app.create_user())
    mine = [secured_app.session_client(user) for _ in range(3)]
    assert mine[0].delete("/me/sessions").status_code == 204
    assert [client.get("/me").status_code for client in mine] == [401] * 3
    assert other.get("/me").status_code == 200
    assert secured_app.admin.get(f"/users/{user['id']}/sessions").json == []
    assert secured_app.admin.delete(f"/users/{user['id']}/sessions").status_code == 204


def test_a_session_is_ended_by_its_own_user_and_by_administrators_only(secured_app: SecuredApp) -> None:
    """An id says whose session it is; the path can't say otherwise."""
    user, victim = secured_app.create_user(), secured_app.create_user()
    attacker, target = secured_app.session_client(user), secured_app.session_client(victim)
    (session_id,) = ids(target.get("/me/sessions"))
    assert attacker.delete(f"/me/sessions/{session_id}").status_code == 404
    assert attacker.delete(f"/users/{user['id']}/sessions/{session_id}").status_code == 404
    assert attacker.delete(f"/users/{victim['id']}/sessions/{session_id}").status_code == 403
    assert secured_app.admin.delete(f"/users/{user['id']}/sessions/{session_id}").status_code == 404
    assert target.get("/me").status_code == 200
    assert secured_app.admin.delete(f"/users/{victim['id']}/sessions/{session_id}").status_code == 204
    assert target.get("/me").status_code == 401


@pytest.mark.parametrize("session_id", ["x", "0" * 64, "%00", "a b", "*", "x" * 5000, "é", "..."])
def test_a_session_that_is_not_there_is_not_found(secured_app: SecuredApp, session_id: str) -> None:
    assert secured_app.admin.delete(f"/me/sessions/{session_id}").status_code == 404
    assert secured_app.admin.delete(f"/users/{secured_app.admin.id}/sessions/{session_id}").status_code == 404


@pytest.mark.parametrize("ended_by", ["a new password", "the trash"])
def test_a_session_that_ended_cannot_be_ended_again(secured_app: SecuredApp, ended_by: str) -> None:
    """It answered 204, and the history said that the session was ended now. Found by tests/attack."""
    user = secured_app.create_user()
    path = f"/users/{user['id']}"
    session = secured_app.session_client(user).get("/me/sessions").json[0]
    if ended_by == "the trash":
        secured_app.admin.delete(path)
    else:
        secured_app.admin.patch(path, {"password": NEW})
    history = secured_app.admin.get(f"{path}/history").json
    assert secured_app.admin.delete(f"{path}/sessions/{session['id']}").status_code == 404
    assert secured_app.admin.get(f"{path}/history").json == history


def test_sessions_of_an_unknown_user_are_404(secured_app: SecuredApp) -> None:
    for user_id in (str(uuid.uuid4()), "nobody"):
        assert secured_app.admin.get(f"/users/{user_id}/sessions").status_code == 404
        assert secured_app.admin.delete(f"/users/{user_id}/sessions").status_code == 404
        assert secured_app.admin.post(f"/users/{user_id}/unlock").status_code == 404


def test_an_unused_session_ends_after_the_idle_limit(secured_app: SecuredApp, clock: Clock) -> None:
    client, user = secured_app.session_client(secured_app.create_user()), secured_app.create_user()
    clock.ahead_s = 12 * HOUR_S - 10
    assert client.get("/me").status_code == 200
    clock.ahead_s += 12 * HOUR_S - 10
    assert client.get("/me").status_code == 200, "each use counts anew"
    clock.ahead_s += 12 * HOUR_S + 10
    assert secured_app.session_client(user).get("/me").status_code == 200
    assert client.get("/me").status_code == 401
    clock.ahead_s = 0
    assert client.get("/me").status_code == 401, "what is over does not come back"


def test_a_used_session_ends_after_the_absolute_limit(secured_app: SecuredApp, clock: Clock) -> None:
    user = secured_app.create_user()
    client = secured_app.session_client(user)
    for _ in range(27):
        clock.ahead_s += DAY_S / 2 - 100
        assert client.get("/me").status_code == 200
    clock.ahead_s = 14 * DAY_S + 1
    assert client.get("/me").status_code == 401


def test_a_new_id_at_a_change_of_role_does_not_make_a_session_last_longer(
    secured_app: SecuredApp, clock: Clock
) -> None:
    user, program = secured_app.create_user(), secured_app.token_client(secured_app.admin.user)
    client = secured_app.session_client(user)
    for number in range(27):
        clock.ahead_s += DAY_S / 2 - 100
        program.patch(f"/users/{user['id']}", {"role": ("viewer", "member")[number % 2]})
        client = secured_app.cookie_client(cookie_of(client.get("/me")), user)
    clock.ahead_s = 14 * DAY_S + 1
    assert client.get("/me").status_code == 401


def test_limits_are_settings(make_app: Callable[..., Flask], secured_app: SecuredApp, clock: Clock) -> None:
    user = secured_app.create_user()
    with make_app(session_idle_h=0.5, session_max_days=1 / 24).app_context():
        secret, session = services().sessions.create_after_reset(uuid.UUID(user["id"]), AuditContext())
        assert session.expires_at == session.seen + 1800
        clock.ahead_s = 1900
        with pytest.raises(Unauthorized):
            services().sessions.resume(secret, AuditContext())


def test_the_last_use_of_a_session_is_written_at_most_once_a_minute(secured_app: SecuredApp, clock: Clock) -> None:
    client = secured_app.session_client(secured_app.create_user())
    seen = [client.get("/me/sessions").json[0]["last_seen_at"]]
    for ahead_s in (30, 59, 62, 90):
        clock.ahead_s = ahead_s
        seen.append(client.get("/me/sessions").json[0]["last_seen_at"])
    assert seen[0] == seen[1] == seen[2] < seen[3] == seen[4]


def test_ended_sessions_are_deleted_from_redis(secured_app: SecuredApp, servers: Stack, clock: Clock) -> None:
    user = secured_app.create_user()
    clock.ahead_s = -15 * DAY_S
    for _ in range(5):
        secured_app.session_cookie(user)
    clock.ahead_s = 0
    live = secured_app.session_client(user)
    with redis.Redis.from_url(servers.redis.url) as client:
        owned = client.smembers(f"fsa:sessions-of:{uuid.UUID(user['id']).hex}")
        assert owned == {one.encode() for one in ids(live.get("/me/sessions"))}
        assert client.zcard("fsa:session-ends") == len(list(client.scan_iter("fsa:session:*", count=1000))) == 2


def test_redis_forgets_a_purged_user(secured_app: SecuredApp, servers: Stack) -> None:
    user = secured_app.create_user(username="kassandra")
    secured_app.session_client(user).get("/me/sessions")
    secured_app.admin.delete(f"/users/{user['id']}?purge=true")
    owner = uuid.UUID(user["id"]).hex.encode()
    with redis.Redis.from_url(servers.redis.url) as client:
        for key in client.scan_iter("*session*", count=1000):
            assert owner not in key
            assert owner not in client.dump(key)
        assert client.zcard("fsa:session-ends") == len(client.keys("fsa:session:*")) == 1
