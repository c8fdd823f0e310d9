"""A cached response is never older than the last write, and no right outlives its end."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.auth.audit_log import AuditContext
from app.http.auth import COOKIE
from app.http.services import services
from app.users.bulk import BulkTarget
from tests.support.cache_pair import CachePair, Crowd, require_same
from tests.support.console_client import form_of
from tests.support.secured_app import PASSWORD, SecuredApp, UserClient
from tests.support.service_process import Service


def _save(house: SecuredApp, user: dict[str, Any]) -> Any:
    browser, path = house.app.test_client(), f"/people/{user['id']}"
    browser.set_cookie(COOKIE, house.secret(house.admin.user))
    answer = browser.post(path, data=form_of(browser, path, name="New"), headers={"Origin": "http://localhost"})
    assert answer.status_code == 303, answer.text
    return answer


def _many(house: SecuredApp, user: dict[str, Any]) -> None:
    with house.app.app_context():
        services().bulk.apply("deactivate", BulkTarget(ids=[uuid.UUID(user["id"])]), AuditContext())


def _command(house: SecuredApp, user: dict[str, Any]) -> None:
    runner = house.app.test_cli_runner()
    made = runner.invoke(args=["users", "password", user["username"], "--password-stdin"], input=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output


WRITES: dict[str, Callable[[SecuredApp, dict[str, Any]], Any]] = {
    "PATCH": lambda house, user: house.admin.patch(f"/users/{user['id']}", {"name": "New"}),
    "PATCH of the role": lambda house, user: house.admin.patch(f"/users/{user['id']}", {"role": "viewer"}),
    "PUT": lambda house, user: house.admin.put(f"/users/{user['id']}", {"username": "bob", "name": "New"}),
    "DELETE": lambda house, user: house.admin.delete(f"/users/{user['id']}"),
    "purge": lambda house, user: house.admin.delete(f"/users/{user['id']}?purge=true"),
    "oneself": lambda house, user: house.by_token(user).patch("/me", {"name": "New"}),
    "the console": _save,
    "many": _many,
    "the command line": _command,
}


@pytest.mark.parametrize("door", WRITES)
def test_after_a_write_through_any_door_the_next_answer_is_new(pair: CachePair, people: SecuredApp, door: str) -> None:
    user, token = people.make(username="bob"), people.token(people.admin.user)["token"]
    paths = [
        f"/api/users/{user['id']}",
        f"/users/{user['id']}",
        "/api/users",
        "/users?q=bob",
        "/users?limit=1&sort=-name",
    ]
    own = people.token(user)["token"]
    for path in paths:
        assert pair.is_hit(path, token)
    assert pair.is_hit("/api/me", own)
    before = {path: pair.cached(path, token).body for path in paths}
    mine = pair.cached("/api/me", own).body
    WRITES[door](people, user)
    for path in paths[:4]:
        assert pair.cached(path, token).body != before[path]
    assert pair.cached("/api/me", own).body != mine
    for path in paths:
        require_same(pair, path, token)
    require_same(pair, "/api/me", own)


def test_who_is_new_or_back_is_in_the_next_page(pair: CachePair, people: SecuredApp) -> None:
    token = people.token(people.admin.user)["token"]
    assert pair.is_hit("/api/users", token)
    user = people.make(username="bob")
    assert b'"bob"' in pair.cached("/api/users", token).body
    path = f"/api/users/{user['id']}"
    people.admin.delete(f"/users/{user['id']}")
    assert pair.cached(path, token).status[:3] == "404"
    people.admin.post(f"/users/{user['id']}/restore")
    assert b'"version":3' in pair.cached(path, token).body
    assert b'"version":3' in pair.cached("/api/users", token).body


ENDS: dict[str, tuple[Callable[[SecuredApp, dict[str, Any], dict[str, Any]], Any], str]] = {
    "revoked": (lambda house, _, token: house.admin.delete(f"/tokens/{token['id']}"), "401"),
    "inactive": (lambda house, user, _: house.admin.patch(f"/users/{user['id']}", {"active": False}), "401"),
    "trash": (lambda house, user, _: house.admin.delete(f"/users/{user['id']}"), "401"),
    "purged": (lambda house, user, _: house.admin.delete(f"/users/{user['id']}?purge=true"), "401"),
    "lowered": (lambda house, user, _: house.admin.patch(f"/users/{user['id']}", {"role": "member"}), "403"),
    "many": (lambda house, user, _: _many(house, user), "401"),
    "command": (
        lambda house, _, token: house.app.test_cli_runner().invoke(args=["tokens", "revoke", token["id"]]), "401",
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_right_counts_at_the_next_request(pair: CachePair, people: SecuredApp, end: str) -> None:
    user, other = people.make("viewer", username="vera"), people.make(username="bob")
    token = people.token(user)
    paths = [f"/api/users/{other['id']}", "/api/users"]
    for path in paths:
        assert pair.is_hit(path, token["token"])
    how, status = ENDS[end]
    how(people, user, token)
    for path in paths:
        assert pair.cached(path, token["token"]).status[:3] == status
        require_same(pair, path, token["token"])
    assert pair.cached("/api/me", token["token"]).status[:3] == ("200" if end == "lowered" else "401")


def test_a_role_that_was_raised_is_whole_at_the_next_request(pair: CachePair, people: SecuredApp) -> None:
    """A token of a viewer who becomes an editor stays a viewer's, and may act for its user no more."""
    user = people.make("viewer", username="vera")
    token = people.token(user)["token"]
    assert pair.is_hit("/api/me", token)
    people.admin.patch(f"/users/{user['id']}", {"role": "editor"})
    assert pair.cached("/api/me", token).status[:3] == "403"
    people.admin.patch(f"/users/{user['id']}", {"role": "viewer"})
    assert pair.is_hit("/api/me", token)


def test_a_token_is_over_when_its_time_has_come(pair: CachePair, people: SecuredApp) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=1.5)
    token = people.token(people.make("viewer"), expires_at=ends_at.isoformat())["token"]
    assert pair.is_hit("/api/users", token)
    time.sleep(max(0, (ends_at - datetime.now(UTC)).total_seconds()))
    assert require_same(pair, "/api/users", token).status[:3] == "401"


def test_what_a_second_host_finds_done_it_shows_as_done(
    make_app: Callable[..., Flask], people: SecuredApp, pair: CachePair
) -> None:
    """A change that changes nothing is answered with what another host did; what is read next is no older."""
    user, token = people.make(username="bob"), people.token(people.admin.user)["token"]
    paths = [f"/api/users/{user['id']}", "/api/users"]
    for path in paths:
        assert pair.is_hit(path, token)
    # Of which nobody tells this one.
    elsewhere = UserClient(make_app(), {"Authorization": f"Bearer {token}"}, {})
    done = elsewhere.patch(f"/users/{user['id']}", {"name": "New"})
    assert b'"version":1' in pair.cached(paths[0], token).body, "it was told, and this test shows nothing"
    again = people.admin.patch(f"/users/{user['id']}", {"name": "New"})
    assert again.data == done.data
    assert pair.cached(paths[0], token).body == done.data
    assert done.data in pair.cached(paths[1], token).body


def test_over_a_socket_both_lanes_are_one_service(serve: Callable[..., Service], crowd: Crowd) -> None:
    """With the launcher's own lease, from a worker of its own."""
    service = serve(WORKERS="1", LOG_LEVEL="info")
    path, headers = f"/api/users/{crowd.ids['bob']}", {"Authorization": f"Bearer {crowd.tokens['root']}"}
    bodies = {service.get(path, headers=headers).body for _ in range(20)}
    assert len(bodies) == 1
    for number in range(20):
        made = service("PATCH", path, {"name": f"Bob {number}"}, headers)
        answer = service.get(path, headers=headers)
        assert answer.body == made.body
        assert answer.headers["ETag"] == made.headers["ETag"]
