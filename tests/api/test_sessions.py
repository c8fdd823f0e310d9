"""Sessions: seen and ended, and over in time."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from app.auth.audit_log import AuditContext
from app.auth.session_store import SessionStore
from app.errors import Unauthorized
from app.http.services import services
from embedded import Stack
from tests.support.api_client import is_moment
from tests.support.secured_app import OURS, PASSWORD, SecuredApp, UserClient, cookie_of

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


def ids(answer: Any) -> set[str]:
    return {one["id"] for one in answer.json}


def test_a_list_of_sessions_says_where_and_since_when(house: SecuredApp) -> None:
    user = house.make()
    first, second = house.by_session(user), house.by_session(user)
    shown = first.get("/me/sessions").json
    assert len(shown) == 2
    for one in shown:
        assert one.keys() == {
            "id", "user_id", "address", "agent", "created_at", "last_seen_at", "expires_at", "current"
        }  # fmt: skip
        assert (one["user_id"], one["address"], one["agent"]) == (user["id"], "192.0.2.1", "Browser/1")
        assert all(is_moment(one[name]) for name in ("created_at", "last_seen_at", "expires_at"))
    assert [one["current"] for one in shown].count(True) == 1
    current = {one["id"] for one in shown if one["current"]}
    assert current != {one["id"] for one in second.get("/me/sessions").json if one["current"]}
    by_admin = house.admin.get(f"/users/{user['id']}/sessions").json
    assert {one["id"] for one in by_admin} == {one["id"] for one in shown}
    assert not any(one["current"] for one in by_admin)


def test_no_list_holds_what_would_let_anybody_in(house: SecuredApp) -> None:
    user = house.make()
    secret = house.secret(user)
    text = house.admin.get(f"/users/{user['id']}/sessions").text
    assert secret.partition(".")[0] not in text
    (shown,) = house.admin.get(f"/users/{user['id']}/sessions").json
    for guess in (shown["id"], f"{shown['id']}.{uuid.UUID(user['id']).hex}"):
        assert house.by_cookie(guess).get("/me").status_code == 401


def test_redis_keeps_no_secret(house: SecuredApp, servers: Stack) -> None:
    secret = house.secret(house.make()).partition(".")[0].encode()
    with redis.Redis.from_url(servers.redis.url) as client:
        keys = list(client.scan_iter(count=1000))
        assert any(b"session" in key for key in keys)
        for key in keys:
            assert secret not in key
            assert secret not in client.dump(key)


def test_one_session_is_ended_and_the_others_stay(house: SecuredApp) -> None:
    user = house.make()
    one, other = house.by_session(user), house.by_session(user)
    (current,) = (session["id"] for session in one.get("/me/sessions").json if session["current"])
    assert other.delete(f"/me/sessions/{current}").status_code == 204
    assert one.get("/me").status_code == 401
    assert other.get("/me").status_code == 200
    assert other.delete(f"/me/sessions/{current}").status_code == 404


def test_ending_all_ends_this_one_too_and_nobody_elses(house: SecuredApp) -> None:
    user, stranger = house.make(), house.by_session(house.make())
    mine = [house.by_session(user) for _ in range(3)]
    assert mine[0].delete("/me/sessions").status_code == 204
    assert [who.get("/me").status_code for who in mine] == [401] * 3
    assert stranger.get("/me").status_code == 200
    assert house.admin.get(f"/users/{user['id']}/sessions").json == []
    assert house.admin.delete(f"/users/{user['id']}/sessions").status_code == 204


def test_a_session_is_ended_by_its_own_user_and_by_administrators_only(house: SecuredApp) -> None:
    """An id says whose session it is; the path can't say otherwise."""
    user, victim = house.make(), house.make()
    attacker, target = house.by_session(user), house.by_session(victim)
    (session_id,) = ids(target.get("/me/sessions"))
    assert attacker.delete(f"/me/sessions/{session_id}").status_code == 404
    assert attacker.delete(f"/users/{user['id']}/sessions/{session_id}").status_code == 404
    assert attacker.delete(f"/users/{victim['id']}/sessions/{session_id}").status_code == 403
    assert house.admin.delete(f"/users/{user['id']}/sessions/{session_id}").status_code == 404
    assert target.get("/me").status_code == 200
    assert house.admin.delete(f"/users/{victim['id']}/sessions/{session_id}").status_code == 204
    assert target.get("/me").status_code == 401


@pytest.mark.parametrize("session_id", ["x", "0" * 64, "%00", "a b", "*", "x" * 5000, "é", "..."])
def test_a_session_that_is_not_there_is_not_found(house: SecuredApp, session_id: str) -> None:
    assert house.admin.delete(f"/me/sessions/{session_id}").status_code == 404
    assert house.admin.delete(f"/users/{house.admin.id}/sessions/{session_id}").status_code == 404


def test_sessions_of_nobody_are_not_found(house: SecuredApp) -> None:
    for user_id in (str(uuid.uuid4()), "nobody"):
        assert house.admin.get(f"/users/{user_id}/sessions").status_code == 404
        assert house.admin.delete(f"/users/{user_id}/sessions").status_code == 404
        assert house.admin.post(f"/users/{user_id}/unlock").status_code == 404


def test_an_unused_session_ends_after_the_idle_limit(house: SecuredApp, clock: Clock) -> None:
    who, user = house.by_session(house.make()), house.make()
    clock.ahead_s = 12 * HOUR_S - 10
    assert who.get("/me").status_code == 200
    clock.ahead_s += 12 * HOUR_S - 10
    assert who.get("/me").status_code == 200, "each use counts anew"
    clock.ahead_s += 12 * HOUR_S + 10
    assert house.by_session(user).get("/me").status_code == 200
    assert who.get("/me").status_code == 401
    clock.ahead_s = 0
    assert who.get("/me").status_code == 401, "what is over does not come back"


def test_a_used_session_ends_after_the_absolute_limit(house: SecuredApp, clock: Clock) -> None:
    user = house.make()
    who = house.by_session(user)
    for _ in range(27):
        clock.ahead_s += DAY_S / 2 - 100
        assert who.get("/me").status_code == 200
    clock.ahead_s = 14 * DAY_S + 1
    assert who.get("/me").status_code == 401


def test_a_new_id_at_a_change_of_role_does_not_make_a_session_last_longer(house: SecuredApp, clock: Clock) -> None:
    user, program = house.make(), house.by_token(house.admin.user)
    who = house.by_session(user)
    for number in range(27):
        clock.ahead_s += DAY_S / 2 - 100
        program.patch(f"/users/{user['id']}", {"role": ("viewer", "member")[number % 2]})
        who = house.by_cookie(cookie_of(who.get("/me")), user)
    clock.ahead_s = 14 * DAY_S + 1
    assert who.get("/me").status_code == 401


def test_limits_are_settings(make_app: Callable[..., Flask], house: SecuredApp, clock: Clock) -> None:
    user = house.make()
    with make_app(session_idle_h=0.5, session_max_days=1 / 24).app_context():
        secret, session = services().sessions.create_after_reset(uuid.UUID(user["id"]), AuditContext())
        assert session.expires_at == session.seen + 1800
        clock.ahead_s = 1900
        with pytest.raises(Unauthorized):
            services().sessions.resume(secret, AuditContext)


def test_being_seen_is_written_at_most_once_a_minute(house: SecuredApp, clock: Clock) -> None:
    who = house.by_session(house.make())
    seen = [who.get("/me/sessions").json[0]["last_seen_at"]]
    for ahead_s in (30, 59, 62, 90):
        clock.ahead_s = ahead_s
        seen.append(who.get("/me/sessions").json[0]["last_seen_at"])
    assert seen[0] == seen[1] == seen[2] < seen[3] == seen[4]


def test_what_is_over_is_swept_out_of_redis(house: SecuredApp, servers: Stack, clock: Clock) -> None:
    user = house.make()
    clock.ahead_s = -15 * DAY_S
    for _ in range(5):
        house.secret(user)
    clock.ahead_s = 0
    live = house.by_session(user)
    with redis.Redis.from_url(servers.redis.url) as client:
        owned = client.smembers(f"fsa:sessions-of:{uuid.UUID(user['id']).hex}")
        assert owned == {one.encode() for one in ids(live.get("/me/sessions"))}
        assert client.zcard("fsa:session-ends") == len(list(client.scan_iter("fsa:session:*", count=1000))) == 2


def test_redis_forgets_a_purged_user(house: SecuredApp, servers: Stack) -> None:
    user = house.make(username="kassandra")
    house.by_session(user).get("/me/sessions")
    house.admin.delete(f"/users/{user['id']}?purge=true")
    owner = uuid.UUID(user["id"]).hex.encode()
    with redis.Redis.from_url(servers.redis.url) as client:
        for key in client.scan_iter("*session*", count=1000):
            assert owner not in key
            assert owner not in client.dump(key)
        assert client.zcard("fsa:session-ends") == len(client.keys("fsa:session:*")) == 1


@pytest.fixture(params=["told", "not told"])
def untold(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is told that sessions end, or can't be."""
    if request.param == "not told":
        for name in ("delete", "delete_all"):
            monkeypatch.setattr(SessionStore, name, lambda *_: False)


@pytest.mark.usefixtures("untold")
@pytest.mark.parametrize("how", ["password", "own password", "no password", "deactivated", "deleted", "purged"])
def test_what_ends_all_sessions_ends_them_at_once(house: SecuredApp, how: str) -> None:
    user = house.make(password=PASSWORD)
    mine, path = [house.by_session(user) for _ in range(3)], f"/users/{user['id']}"
    assert [who.get("/me").status_code for who in mine] == [200] * 3
    match how:
        case "password":
            house.admin.patch(path, {"password": NEW})
        case "own password":
            assert mine[0].patch("/me", {"password": NEW}).status_code == 200
        case "no password":
            house.admin.patch(path, {"password": None})
        case "deactivated":
            house.admin.patch(path, {"active": False})
        case _:
            house.admin.delete(path if how == "deleted" else f"{path}?purge=true")
    assert [who.get("/me").status_code for who in mine] == [401] * 3
    # Whatever is undone, nobody is signed in again by that.
    if how == "deactivated":
        house.admin.patch(path, {"active": True})
    elif how == "deleted":
        assert house.admin.post(f"{path}/restore").status_code == 200
    elif how == "purged":
        assert house.admin.put(path, {"username": user["username"], "role": "admin"}).status_code == 201
    assert [who.get("/me").status_code for who in mine] == [401] * 3
    assert house.admin.get(f"{path}/sessions").json == []


@pytest.mark.parametrize("purges", [1, 2])
def test_a_session_that_was_not_used_since_does_not_open_the_record_of_the_next_user(
    house: SecuredApp, purges: int
) -> None:
    """A new user may take the id of one who was purged."""
    user = house.make()
    path, who = f"/users/{user['id']}", house.by_session(user)
    for _ in range(purges):
        house.admin.delete(f"{path}?purge=true")
        house.admin.put(path, {"username": "next", "role": "admin"})
    assert who.get("/me").status_code == 401


def test_changing_ones_password_ends_all_but_this_session_which_gets_a_new_id(house: SecuredApp) -> None:
    user = house.make(password=PASSWORD)
    one, other = house.by_session(user), house.by_session(user)
    answer = one.put("/me/password", {"current_password": PASSWORD, "new_password": NEW})
    assert answer.status_code == 204
    assert house.by_cookie(cookie_of(answer)).get("/me").status_code == 200
    assert one.get("/me").status_code == 401
    assert other.get("/me").status_code == 401
    assert house.sign_in({"username": user["username"], "password": PASSWORD}).status_code == 401
    assert house.sign_in({"username": user["username"], "password": NEW}).status_code == 201


def test_changing_ones_password_needs_the_present_one_and_guesses_are_counted(house: SecuredApp) -> None:
    user = house.make(password=PASSWORD)
    who = house.by_session(user)
    guess = {"current_password": "guess", "new_password": NEW}
    assert [who.put("/me/password", guess).status_code for _ in range(6)] == [403] * 5 + [429]
    right = {**guess, "current_password": PASSWORD}
    assert who.put("/me/password", right).status_code == 429
    assert house.admin.post(f"/users/{user['id']}/unlock").status_code == 204
    assert who.put("/me/password", right).status_code == 204


def test_who_has_no_password_can_not_give_it(house: SecuredApp) -> None:
    who = house.by_session(house.make())
    assert who.put("/me/password", {"current_password": "", "new_password": NEW}).status_code == 403


def test_an_emptied_redis_signs_everybody_out_and_opens_nothing(house: SecuredApp, servers: Stack) -> None:
    who: UserClient = house.by_session(house.make("editor"))
    with redis.Redis.from_url(servers.redis.url) as client:
        client.flushall()
    answer = who.get("/users")
    assert answer.status_code == 401
    assert cookie_of(answer) == ""
    assert house.nobody.get("/users").status_code == 401
    assert house.sign_in({"username": "root", "password": PASSWORD}, **OURS).status_code == 201
