"""Fault 20: a change of role renews a session once, and all its requests are answered."""

from collections.abc import Callable
from functools import partial

import pytest
import redis
from flask import Flask
from werkzeug.test import TestResponse

from app.http.auth import COOKIE
from embedded import Stack
from tests.support.concurrency import at_once
from tests.support.secured_app import SecuredApp, cookie_of


@pytest.fixture
def house(app: Flask, empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - it is called for its effect
    return SecuredApp(app)


def _cookie(answer: TestResponse) -> str | None:
    return cookie_of(answer) if any(COOKIE in line for line in answer.headers.getlist("Set-Cookie")) else None


@pytest.mark.parametrize("kind", ["reads", "writes", "both"])
def test_parallel_requests_after_a_change_of_role_are_all_answered_and_one_session_goes_on(
    house: SecuredApp, kind: str
) -> None:
    """Fault 20: not one copy for each request, and no 401 that drops the cookie."""
    user = house.make()
    old = house.secret(user)
    for role in ("viewer", "member", "editor"):
        who = house.by_cookie(old, user)
        house.admin.patch(f"/users/{user['id']}", {"role": role})
        reads, writes = [partial(who.get, "/me")] * 12, [partial(who.patch, "/me", {"name": "Bob"})] * 12
        answers = at_once({"reads": reads, "writes": writes, "both": [*reads, *writes]}[kind])
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        cookies = {_cookie(answer) for answer in answers}
        assert len(cookies) == 1, "all get the same cookie"
        (new,) = cookies
        assert new not in (None, "", old)
        assert len(house.admin.get(f"/users/{user['id']}/sessions").json) == 1
        old = new or ""
    assert house.by_cookie(old, user).get("/users").status_code == 200


def test_signing_out_of_a_renewed_session_ends_it_whichever_cookie_is_sent(house: SecuredApp) -> None:
    """Fault 20: nothing of it lives on."""
    user = house.make()
    old = house.secret(user)
    house.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    new = cookie_of(house.by_cookie(old, user).get("/me"))
    assert house.by_cookie(old, user).delete("/session").status_code == 204
    assert house.by_cookie(new, user).get("/me").status_code == 401
    assert house.by_cookie(old, user).get("/me").status_code == 401
    assert house.admin.get(f"/users/{user['id']}/sessions").json == []


def test_what_the_old_cookie_leads_to_can_not_be_read_in_redis(house: SecuredApp, servers: Stack) -> None:
    """Fault 20: and it is there for a minute at the most."""
    user = house.make()
    old = house.secret(user)
    house.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    new = cookie_of(house.by_cookie(old, user).get("/me"))
    secret = new.partition(".")[0].encode()
    with redis.Redis.from_url(servers.redis.url) as client:
        (left,) = client.keys("fsa:session-next:*")
        assert 0 < client.ttl(left) <= 60
        assert secret not in (client.get(left) or b"")
        client.delete(left)
    who = house.by_cookie(old, user)
    assert who.patch("/me", {"name": "Bob"}).status_code == 401, "the minute is over"
    assert house.by_cookie(new, user).get("/me").status_code == 200


def test_a_renewal_that_nobody_received_is_received_by_the_next_request(house: SecuredApp) -> None:
    """Fault 20: as when the browser goes to another page before the answer is there."""
    user = house.make()
    old = house.secret(user)
    for role in ("viewer", "editor", "member"):
        house.admin.patch(f"/users/{user['id']}", {"role": role})
        house.by_cookie(old, user).get("/me")
    answer = house.by_cookie(old, user).get("/me")
    assert answer.status_code == 200
    assert house.by_cookie(cookie_of(answer), user).get("/me").json["role"] == "member"
    assert len(house.admin.get(f"/users/{user['id']}/sessions").json) == 1
