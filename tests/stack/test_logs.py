"""One line of JSON per request, and no personal data beyond ids in any log of the stack."""

import json
import re
from typing import Any

from tests.stack.compose import SERVICES, Stack, wait_until

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.\w+")


def test_each_request_is_one_line_of_json(stack: Stack) -> None:
    stack.request("GET", "/api/users/0199e6a0-0000-7000-8000-000000000000", headers={"X-Request-ID": "seen-in-the-log"})

    def seen() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in stack.log("web").splitlines()]
        return [line for line in lines if line.get("request_id") == "seen-in-the-log"]

    # It is written after the answer was sent.
    (line,) = wait_until(seen, "the request is logged")
    assert line["method"] == "GET"
    assert line["route"] == "/api/users/<user_id>"
    assert line["status"] == 404
    assert line["ms"] > 0
    assert line["level"] == "info"


def test_no_log_holds_an_email_address_or_a_name(stack: Stack) -> None:
    email = "private.person@example.org"
    user = stack.make("logged-person", email=email, name="Grace Hopper-Private", password="not-for-the-log-1")
    assert stack.request("POST", "/api/users", {"email": email}).status == 409
    path = f"/api/users/{user['id']}"
    assert stack.request("PATCH", path, {"email": "other.private@example.org"}).status == 200
    assert stack.get("/api/users?email=other.private@example.org").status == 200
    assert stack.get("/api/users?q=hopper").status == 200
    assert stack.request("POST", "/api/users", {"email": "no address, but private"}).status == 422
    assert stack.request("DELETE", path + "?purge=true").status == 204
    for service in SERVICES:
        log = stack.log(service)
        assert _EMAIL.findall(log.replace("postgres@db:5432", "")) == []
        for word in ("Hopper", "hopper", "not-for-the-log", "logged-person", "no address"):
            assert word not in log, service


def test_the_logs_of_a_good_start_hold_no_error(stack: Stack) -> None:
    stack("up", "-d", "--wait", "--force-recreate", "web")
    lines = [json.loads(line) for line in stack.log("web").splitlines()]
    assert [line for line in lines if line["level"] not in ("info", "debug")] == []
    assert any(line["event"] == "serving" for line in lines)
