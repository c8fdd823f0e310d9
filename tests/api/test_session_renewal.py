"""A change of role renews a session once, and concurrent requests still succeed."""

from collections.abc import Callable
from functools import partial

import pytest
import redis
from flask import Flask
from werkzeug.test import TestResponse

from app.http.parsing import SESSION_COOKIE
from embedded import Stack
from tests.support.concurrency import at_once
from tests.support.secured_app import SecuredApp, cookie_of


@pytest.fixture
def secured_app(app: Flask, empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - it is called for its effect
    return SecuredApp(app)


def _cookie(response: TestResponse) -> str | None:
    return (
        cookie_of(response) if any(SESSION_COOKIE in line for line in response.headers.getlist("Set-Cookie")) else None
    )


@pytest.mark.parametrize("kind", ["reads", "writes", "both"])
def test_parallel_requests_after_a_change_of_role_are_all_answered_and_one_session_goes_on(
    secured_app: SecuredApp, kind: str
) -> None:
    """Not one session for each request, and no 401 that drops the cookie."""
    user = secured_app.create_user()
    old = secured_app.session_cookie(user)
    for role in ("viewer", "member", "editor"):
        client = secured_app.cookie_client(old, user)
        secured_app.admin.patch(f"/users/{user['id']}", {"role": role})
        reads, writes = [partial(client.get, "/me")] * 12, [partial(client.patch, "/me", {"name": "Bob"})] * 12
        responses = at_once({"reads": reads, "writes": writes, "both": [*reads, *writes]}[kind])
        assert [response.status_code for response in responses] == [200] * len(responses)
        cookies = {_cookie(response) for response in responses}
        assert len(cookies) == 1, "all get the same cookie"
        (new,) = cookies
        assert new not in (None, "", old)
        assert len(secured_app.admin.get(f"/users/{user['id']}/sessions").json) == 1
        old = new or ""
    assert secured_app.cookie_client(old, user).get("/users").status_code == 200


def test_signing_out_of_a_renewed_session_ends_it_whichever_cookie_is_sent(secured_app: SecuredApp) -> None:
    """The old and the new session end."""
    user = secured_app.create_user()
    old = secured_app.session_cookie(user)
    secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    new = cookie_of(secured_app.cookie_client(old, user).get("/me"))
    assert secured_app.cookie_client(old, user).delete("/session").status_code == 204
    assert secured_app.cookie_client(new, user).get("/me").status_code == 401
    assert secured_app.cookie_client(old, user).get("/me").status_code == 401
    assert secured_app.admin.get(f"/users/{user['id']}/sessions").json == []


def test_redis_does_not_store_the_renewed_session_in_plain_text(secured_app: SecuredApp, servers: Stack) -> None:
    """The entry of the old cookie expires after a minute."""
    user = secured_app.create_user()
    old = secured_app.session_cookie(user)
    secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    new = cookie_of(secured_app.cookie_client(old, user).get("/me"))
    secret = new.partition(".")[0].encode()
    with redis.Redis.from_url(servers.redis.url) as redis_client:
        (left,) = redis_client.keys("fsa:session-next:*")
        assert 0 < redis_client.ttl(left) <= 60
        assert secret not in (redis_client.get(left) or b"")
        redis_client.delete(left)
    client = secured_app.cookie_client(old, user)
    assert client.patch("/me", {"name": "Bob"}).status_code == 401, "the minute is over"
    assert secured_app.cookie_client(new, user).get("/me").status_code == 200


def test_a_lost_session_renewal_is_repeated_by_the_next_request(secured_app: SecuredApp) -> None:
    """As when the browser opens another page before the response arrives."""
    user = secured_app.create_user()
    old = secured_app.session_cookie(user)
    for role in ("viewer", "editor", "member"):
        secured_app.admin.patch(f"/users/{user['id']}", {"role": role})
        secured_app.cookie_client(old, user).get("/me")
    response = secured_app.cookie_client(old, user).get("/me")
    assert response.status_code == 200
    assert secured_app.cookie_client(cookie_of(response), user).get("/me").json["role"] == "member"
    assert len(secured_app.admin.get(f"/users/{user['id']}/sessions").json) == 1
