"""A request counts once against the write limit, however long its body takes."""

import json
import re
import time
from collections.abc import Callable

import pytest
from flask import Flask

from tests.support.asgi import request
from tests.support.secured_app import SecuredApp, UserClient

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def secured_app(make_app: Callable[..., Flask], empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - for its effect
    return SecuredApp(make_app(write_rate_per_minute=20))


def remaining(client: UserClient, method: str, path: str, kind: str, body: bytes) -> int:
    """The remaining quota after a write with a slow body."""
    half = len(body) // 2
    headers = {**client.headers, "Content-Type": kind}
    response = request(client.app, method, path, headers, body[:half], lambda: time.sleep(0.1), body[half:])
    assert response.status_code < 400, response.text
    found = re.search(r"r=(\d+)", response.headers["RateLimit"])
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("way", ["session_client", "token_client"])
def test_a_write_with_a_slow_body_counts_once(secured_app: SecuredApp, way: str) -> None:
    client: UserClient = getattr(secured_app, way)(secured_app.create_user("admin", username="ada"))
    other = secured_app.create_user(username="bob")
    writes: list[tuple[str, str, str, bytes]] = [
        ("POST", "/api/users", "application/json", b'{"username": "new"}'),
        ("PATCH", f"/api/users/{other['id']}", "application/json", b'{"name": "Bob"}'),
        ("PUT", f"/api/users/{other['id']}", "application/json", b'{"username": "bob"}'),
    ]
    if way == "session_client":
        version = secured_app.admin.get(f"/users/{other['id']}").json["version"] + 2
        form = f"name=Robert&version={version}".encode()
        writes.append(("POST", f"/people/{other['id']}", FORM, form))
    else:
        writes.append(("POST", "/api/tokens", "application/json", json.dumps({"name": "t", "role": "viewer"}).encode()))
    left = [remaining(client, *write) for write in writes]
    assert left == [19, 18, 17, 16]
