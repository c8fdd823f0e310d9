"""Cached responses are never older than the last write, and permissions end at once."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.http.parsing import SESSION_COOKIE
from app.http.services import services
from app.users.bulk import BulkTarget
from tests.support.bulk_calls import SYSTEM
from tests.support.cache_pair import CachePair, SampleUsers, require_same
from tests.support.console_client import form_of
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient
from tests.support.service_process import Service


def _save(secured_app: SecuredApp, user: dict[str, Any]) -> Any:
    browser, path = secured_app.app.test_client(), f"/people/{user['id']}"
    browser.set_cookie(SESSION_COOKIE, secured_app.session_cookie(secured_app.admin.user))
    response = browser.post(path, data=form_of(browser, path, name="New"), headers={"Origin": "http://localhost"})
    assert response.status_code == 303, response.text
    return response


def _many(secured_app: SecuredApp, user: dict[str, Any]) -> None:
    with secured_app.app.app_context():
        services().bulk.apply("deactivate", BulkTarget(ids=[uuid.UUID(user["id"])]), SYSTEM)


def _command(secured_app: SecuredApp, user: dict[str, Any]) -> None:
    runner = secured_app.app.test_cli_runner()
    made = runner.invoke(args=["users", "password", user["username"], "--password-stdin"], input=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output


WRITES: dict[str, Callable[[SecuredApp, dict[str, Any]], Any]] = {
    "PATCH": lambda secured_app, user: secured_app.admin.patch(f"/users/{user['id']}", {"name": "New"}),
    "PATCH of the role": lambda secured_app, user: secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"}),
    "PUT": lambda secured_app, user: secured_app.admin.put(f"/users/{user['id']}", {"username": "bob", "name": "New"}),
    "DELETE": lambda secured_app, user: secured_app.admin.delete(f"/users/{user['id']}"),
    "purge": lambda secured_app, user: secured_app.admin.delete(f"/users/{user['id']}?purge=true"),
    "oneself": lambda secured_app, user: secured_app.token_client(user).patch("/me", {"name": "New"}),
    "the console": _save,
    "many": _many,
    "the command line": _command,
}


@pytest.mark.parametrize("client", WRITES)
def test_after_a_write_by_any_interface_the_next_response_is_new(
    pair: CachePair, own_secured_app: SecuredApp, client: str
) -> None:
    user, token = (
        own_secured_app.create_user(username="bob"),
        own_secured_app.token(own_secured_app.admin.user)["token"],
    )
    paths = [
        f"/api/users/{user['id']}",
        f"/users/{user['id']}",
        "/api/users",
        "/users?q=bob",
        "/users?limit=1&sort=-name",
    ]
    own = own_secured_app.token(user)["token"]
    for path in paths:
        assert pair.is_hit(path, token)
    assert pair.is_hit("/api/me", own)
    before = {path: pair.cached(path, token).body for path in paths}
    mine = pair.cached("/api/me", own).body
    WRITES[client](own_secured_app, user)
    for path in paths[:4]:
        assert pair.cached(path, token).body != before[path]
    assert pair.cached("/api/me", own).body != mine
    for path in paths:
        require_same(pair, path, token)
    require_same(pair, "/api/me", own)


def test_a_new_or_restored_user_is_in_the_next_page(pair: CachePair, own_secured_app: SecuredApp) -> None:
    token = own_secured_app.token(own_secured_app.admin.user)["token"]
    assert pair.is_hit("/api/users", token)
    user = own_secured_app.create_user(username="bob")
    assert b'"bob"' in pair.cached("/api/users", token).body
    path = f"/api/users/{user['id']}"
    own_secured_app.admin.delete(f"/users/{user['id']}")
    assert pair.cached(path, token).status[:3] == "404"
    own_secured_app.admin.post(f"/users/{user['id']}/restore")
    assert b'"version":3' in pair.cached(path, token).body
    assert b'"version":3' in pair.cached("/api/users", token).body


ENDS: dict[str, tuple[Callable[[SecuredApp, dict[str, Any], dict[str, Any]], Any], str]] = {
    "revoked": (lambda secured_app, _, token: secured_app.admin.delete(f"/tokens/{token['id']}"), "401"),
    "inactive": (
        lambda secured_app, user, _: secured_app.admin.patch(f"/users/{user['id']}", {"active": False}),
        "401",
    ),
    "trash": (lambda secured_app, user, _: secured_app.admin.delete(f"/users/{user['id']}"), "401"),
    "purged": (lambda secured_app, user, _: secured_app.admin.delete(f"/users/{user['id']}?purge=true"), "401"),
    "lowered": (
        lambda secured_app, user, _: secured_app.admin.patch(f"/users/{user['id']}", {"role": "member"}),
        "403",
    ),
    "many": (lambda secured_app, user, _: _many(secured_app, user), "401"),
    "command": (
        lambda secured_app, _, token: secured_app.app.test_cli_runner().invoke(args=["tokens", "revoke", token["id"]]),
        "401",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_right_counts_at_the_next_request(pair: CachePair, own_secured_app: SecuredApp, end: str) -> None:
    user, other = own_secured_app.create_user("viewer", username="vera"), own_secured_app.create_user(username="bob")
    token = own_secured_app.token(user)
    paths = [f"/api/users/{other['id']}", "/api/users"]
    for path in paths:
        assert pair.is_hit(path, token["token"])
    how, status = ENDS[end]
    how(own_secured_app, user, token)
    for path in paths:
        assert pair.cached(path, token["token"]).status[:3] == status
        require_same(pair, path, token["token"])
    assert pair.cached("/api/me", token["token"]).status[:3] == ("200" if end == "lowered" else "401")


def test_a_raised_role_applies_at_the_next_request(pair: CachePair, own_secured_app: SecuredApp) -> None:
    """A token of a viewer who becomes an editor stays a viewer's, and may act for its user no more."""
    user = own_secured_app.create_user("viewer", username="vera")
    token = own_secured_app.token(user)["token"]
    assert pair.is_hit("/api/me", token)
    own_secured_app.admin.patch(f"/users/{user['id']}", {"role": "editor"})
    assert pair.cached("/api/me", token).status[:3] == "403"
    own_secured_app.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    assert pair.is_hit("/api/me", token)


def test_a_token_is_refused_after_its_expiry(pair: CachePair, own_secured_app: SecuredApp) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=1.5)
    token = own_secured_app.token(own_secured_app.create_user("viewer"), expires_at=ends_at.isoformat())["token"]
    assert pair.is_hit("/api/users", token)
    time.sleep(max(0, (ends_at - datetime.now(UTC)).total_seconds()))
    assert require_same(pair, "/api/users", token).status[:3] == "401"


def test_a_change_without_effect_shows_the_change_of_another_host(
    make_app: Callable[..., Flask], own_secured_app: SecuredApp, pair: CachePair
) -> None:
    """A change that changes nothing is answered with what another host did; what is read next is no older."""
    user, token = (
        own_secured_app.create_user(username="bob"),
        own_secured_app.token(own_secured_app.admin.user)["token"],
    )
    paths = [f"/api/users/{user['id']}", "/api/users"]
    for path in paths:
        assert pair.is_hit(path, token)
    # This host is not informed of the change.
    elsewhere = UserClient(make_app(), {"Authorization": f"Bearer {token}"}, {})
    done = elsewhere.patch(f"/users/{user['id']}", {"name": "New"})
    assert b'"version":1' in pair.cached(paths[0], token).body, "it was told, and this test shows nothing"
    again = own_secured_app.admin.patch(f"/users/{user['id']}", {"name": "New"})
    assert again.data == done.data
    assert pair.cached(paths[0], token).body == done.data
    assert done.data in pair.cached(paths[1], token).body


def test_cached_and_uncached_responses_over_a_socket_are_equal(
    serve: Callable[..., Service], sample_users: SampleUsers
) -> None:
    """With the launcher's own lease, from a worker of its own."""
    service = serve(WORKERS="1", LOG_LEVEL="info")
    path, headers = f"/api/users/{sample_users.ids['bob']}", {"Authorization": f"Bearer {sample_users.tokens['root']}"}
    bodies = {service.get(path, headers=headers).body for _ in range(20)}
    assert len(bodies) == 1
    for number in range(20):
        made = service("PATCH", path, {"name": f"Bob {number}"}, headers)
        response = service.get(path, headers=headers)
        assert response.body == made.body
        assert response.headers["ETag"] == made.headers["ETag"]
