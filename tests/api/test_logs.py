"""Logs: one line of JSON for each request, without personal data."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.wrappers import Response

from app.search.pages import UserPages
from embedded.ports import free_port
from tests.support.asgi import request
from tests.support.service_process import Service, first_administrator
from tests.support.waiting import wait_until

SECRETS = ["kassandra", "troia", "Apollon", "hunter2", "q-secret", "attr-secret"]


def _requests(service: Service) -> list[dict[str, Any]]:
    return [event for event in service.events if event["event"] == "request"]


def test_each_request_is_one_line_of_json_without_personal_data(
    serve: Callable[..., Service],
    empty: Callable[[], None],  # noqa: ARG001 - called for its effect
) -> None:
    service = serve(LOG_FORMAT="json", LOG_LEVEL="info", WORKERS="1")
    body = {
        "email": "kassandra@troia.example",
        "name": "Kassandra",
        "password": "Apollon-Apollon",
        "attributes": {"a": "attr-secret"},
    }
    made = service.post("/api/users", body, headers={"X-Request-ID": "first"})
    path = f"/api/users/{made.json['id']}"
    service.get(f"{path}?", headers={"X-Request-ID": "second", "User-Agent": "kassandra/1"})
    service.get("/api/users?q=q-secret&email=kassandra@troia.example")
    assert service.post("/api/users", body).status == 409
    assert service.post("/api/users", {"username": "kassandra troia", "password": "hunter2"}).status == 422
    service.get("/api/users/kassandra")
    service.get("/kassandra-troia")
    lines = [event for event in service.events if event["event"] == "request" and "/health" not in str(event["route"])]
    first, second, *rest = lines
    assert (first["method"], first["route"], first["status"], first["request_id"]) == (
        "POST",
        "/api/users",
        201,
        "first",
    )
    assert (second["route"], second["status"], second["request_id"]) == ("/api/users/<user_id>", 200, "second")
    assert [line["status"] for line in rest] == [200, 409, 422, 404, 404]
    assert all(0 <= line["ms"] < 10_000 for line in lines)
    assert [secret for secret in SECRETS if secret.lower() in service.text.lower()] == []


def test_every_line_is_json_when_json_is_asked_for(serve: Callable[..., Service]) -> None:
    service = serve(LOG_FORMAT="json", LOG_LEVEL="debug")
    service.get("/api/users")
    service.end()
    for line in service.text.splitlines():
        assert json.loads(line)["event"]


def test_lines_below_the_log_level_are_not_logged(serve: Callable[..., Service]) -> None:
    # A Redis that a busy machine makes slow would be worth a warning.
    service = serve(LOG_FORMAT="json", LOG_LEVEL="warning", REDIS_TIMEOUT_MS="1000")
    service.get("/api/users")
    assert service.end() == 0
    assert service.text == ""


def test_successful_health_checks_are_only_logged_for_debugging(serve: Callable[..., Service]) -> None:
    service = serve(LOG_FORMAT="json")
    assert service.get("/api/health/ready").status == 200
    service.get("/api/users")
    service.end()
    requests = [event for event in service.events if event["event"] == "request"]
    assert "/api/users" in [event["route"] for event in requests]
    assert [event for event in requests if "/health" in event["route"] and event["status"] == 200] == []
    for level in ("info", "debug"):
        url = f"postgresql://ada@127.0.0.1:{free_port()}/usersdb"
        unready = serve(ready=False, LOG_FORMAT="json", LOG_LEVEL=level, DATABASE_URL=url)
        unready.wait_for(lambda service=unready: service.get("/api/health/live").status == 200)
        assert unready.get("/api/health/ready").status == 503
        unready.end()
        found = [(event["status"], event["level"]) for event in unready.events if "/health" in event.get("route", "")]
        assert (503, "info") in found
        assert ((200, "debug") in found) == (level == "debug")
        assert (200, "info") not in found


def test_the_text_format_is_readable(serve: Callable[..., Service]) -> None:
    service = serve(LOG_FORMAT="text")
    service.get("/api/users")
    service.wait_for(lambda: "request" in service.text)
    assert "{" not in service.text.splitlines()[0]


@pytest.mark.parametrize(
    ("path", "accept"), [("/people", "text/html"), ("/api/users", "application/json"), ("/users", "text/html")]
)
def test_an_unexpected_error_is_logged_with_the_request_id_of_its_response(
    admin: FlaskClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], path: str, accept: str
) -> None:
    monkeypatch.setattr(UserPages, "page", fail)
    response = admin.get(path, headers={"Accept": accept})
    assert response.headers["X-Request-ID"] in response.text
    require_trace(response, capfd.readouterr().err)


def test_an_error_of_middleware_is_logged_with_the_request_id_of_its_response(
    app: Flask, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "wsgi_app", fail)
    require_trace(request(app, "GET", "/people", {}), capfd.readouterr().err)
    response = request(app, "GET", "/people", {"X-Request-ID": "of-the-client"})
    require_trace(response, capfd.readouterr().err)
    assert response.headers["X-Request-ID"] == "of-the-client"


def fail(*_: Any, **__: Any) -> None:
    """Raise an error that nothing expects."""
    raise RuntimeError


def require_trace(response: Response, log: str) -> None:
    """Check that the log has one trace, in a line with the request id of this response."""
    assert response.status_code == 500
    (line,) = [event for event in map(json.loads, log.splitlines()) if event["event"] == "unforeseen"]
    assert line["request_id"] == response.headers["X-Request-ID"]
    assert "RuntimeError" in line["exception"]


def test_a_line_has_the_ids_of_user_and_credential_and_no_address(
    serve: Callable[..., Service], new_database: str
) -> None:
    service = serve(LOG_FORMAT="json", DATABASE_URL=new_database, WORKERS="1")
    headers = first_administrator(service)
    me = service.get("/api/me", headers=headers).json
    (token,) = service.get("/api/tokens", headers=headers).json
    ids = (me["id"], f"token:{token['id']}")
    wait_until(lambda: service.get("/api/users", headers=headers).status == 200 and _requests(service)[-1]["cached"])
    assert (_requests(service)[-1]["user_id"], _requests(service)[-1]["credential"]) == ids
    origin = {"Origin": f"http://127.0.0.1:{service.port}"}
    body = {"username": "root", "password": "correct horse battery"}
    signed_in = service.post("/api/session", body, headers=origin)
    cookie = {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]}
    (session,) = service.get(f"/api/users/{me['id']}/sessions", headers=cookie).json
    assert service.get("/api/users", headers={"Authorization": "Bearer unknown"}).status == 401
    refused, by_session = _requests(service)[-1], _requests(service)[-2]
    assert (by_session["user_id"], by_session["credential"]) == (me["id"], f"session:{session['id']}")
    assert (refused["user_id"], refused["credential"], refused["cached"]) == (None, None, False)
    assert not any("address" in line for line in _requests(service))
    assert "127.0.0.1" not in "".join(line for line in service.text.splitlines() if '"request"' in line)


def test_the_address_of_the_client_is_logged_when_asked_for(serve: Callable[..., Service], new_database: str) -> None:
    settings = {"LOG_ADDRESSES": "true", "TRUSTED_PROXIES": "127.0.0.1"}
    service = serve(LOG_FORMAT="json", DATABASE_URL=new_database, WORKERS="1", **settings)
    headers = {**first_administrator(service), "X-Forwarded-For": "192.0.2.7"}
    wait_until(lambda: service.get("/api/users", headers=headers).status == 200 and _requests(service)[-1]["cached"])
    service.get("/api/nothing", headers=headers)
    assert [line["address"] for line in _requests(service)[-2:]] == ["192.0.2.7", "192.0.2.7"]
