"""Fault 12: one request counts once against the write limit, however long its body takes."""

import json
import re
import time
from collections.abc import Callable

import pytest
from flask import Flask

from tests.support.asgi import ask
from tests.support.secured_app import SecuredApp, UserClient

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def house(make_app: Callable[..., Flask], empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - for its effect
    return SecuredApp(make_app(write_rate_per_minute=20))


def remaining(who: UserClient, method: str, path: str, kind: str, body: bytes) -> int:
    """What is left of the limit after a write whose body takes its time."""
    half = len(body) // 2
    headers = {**who.headers, "Content-Type": kind}
    answer = ask(who.app, method, path, headers, body[:half], lambda: time.sleep(0.1), body[half:])
    assert answer.status_code < 400, answer.text
    found = re.search(r"r=(\d+)", answer.headers["RateLimit"])
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("way", ["by_session", "by_token"])
def test_a_write_with_a_slow_body_counts_once(house: SecuredApp, way: str) -> None:
    who: UserClient = getattr(house, way)(house.make("admin", username="ada"))
    other = house.make(username="bob")
    writes: list[tuple[str, str, str, bytes]] = [
        ("POST", "/api/users", "application/json", b'{"username": "new"}'),
        ("PATCH", f"/api/users/{other['id']}", "application/json", b'{"name": "Bob"}'),
        ("PUT", f"/api/users/{other['id']}", "application/json", b'{"username": "bob"}'),
    ]
    if way == "by_session":
        version = house.admin.get(f"/users/{other['id']}").json["version"] + 2
        form = f"name=Robert&version={version}".encode()
        writes.append(("POST", f"/people/{other['id']}", FORM, form))
    else:
        writes.append(("POST", "/api/tokens", "application/json", json.dumps({"name": "t", "role": "viewer"}).encode()))
    left = [remaining(who, *write) for write in writes]
    assert left == [19, 18, 17, 16]
