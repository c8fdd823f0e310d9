"""Traces: requests, SQL and commands of Redis, without personal data; the ids are in problem documents and logs."""

import contextlib
import http.client
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.service_process import ROOT, Service, clean_environment, first_administrator
from tests.support.trace_collector import Collector, collector
from tests.support.waiting import wait_until

SERVER, CLIENT = 2, 3
ALWAYS = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "50"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE[::-1]}-00f067aa0ba902b7-00"}
NOBODY = "0199a0e2-0000-7000-8000-000000000000"
ADA = {"name": "Ada Lovelace", "username": "ada-secret", "email": "ada-secret@example.com"}
PERSONAL = {
    "User-Agent": "ada-secret",
    "X-Forwarded-For": "192.0.2.7",
    "Host": "ada-secret.example.org",
    "traceparent": PARENT["traceparent"],
    "tracestate": "vendor=ada-secret",
    "baggage": "user=ada-secret",
}
PASSWORD = "correct horse battery staple"


@pytest.fixture
def traces() -> Iterator[Collector]:
    with collector() as found:
        yield found


def _service(serve: Callable[..., Service], traces: Collector, database: str, **settings: str) -> Service:
    return serve(DATABASE_URL=database, WORKERS="1", OTEL_EXPORTER_OTLP_ENDPOINT=traces.url, **settings)


def _trace(traces: Collector, route: str) -> list[dict[str, Any]]:
    """The spans of the last trace of a route."""
    wait_until(lambda: any(span["attributes"].get("http.route") == route for span in traces.of_kind(SERVER)))
    last = [span for span in traces.of_kind(SERVER) if span["attributes"].get("http.route") == route][-1]
    return [span for span in traces.spans if span["trace_id"] == last["trace_id"]]


def test_a_request_is_traced_with_its_statements_and_commands(
    serve: Callable[..., Service], traces: Collector, new_database: str
) -> None:
    # A Redis that a busy machine makes slow is not used.
    service = _service(serve, traces, new_database, REDIS_TIMEOUT_MS="1000", **ALWAYS)
    headers = first_administrator(service)
    user = service.post("/api/users", ADA, headers=headers).json
    assert service("PATCH", f"/api/users/{user['id']}", {"name": "Ada"}, headers=headers).status == 200
    spans = _trace(traces, "/api/users/<user_id>")
    (request,) = [span for span in spans if span["kind"] == SERVER]
    assert (
        request["attributes"] | {"http.request.method": "PATCH", "http.response.status_code": 200}
        == (request["attributes"])
    )
    inner = [span for span in spans if span["kind"] == CLIENT]
    assert {span["parent"] for span in inner} == {request["span_id"]}
    assert {span["attributes"]["db.system.name"] for span in inner} == {"postgresql"}
    assert any("UPDATE users" in span["attributes"]["db.query.text"] for span in inner)
    assert traces.resource["service.name"] == "fullstack-app"
    assert service.get("/api/health/live").status == service.get("/api/health").status == 200
    # All spans are sent before the process ends.
    assert service.get("/api/users?limit=7", headers=headers).status == 200
    assert service.end() == 0
    assert traces.of_kind(SERVER)[-1]["attributes"]["http.route"] == "/api/users"
    assert not any("health" in span["name"] for span in traces.spans)
    commands = [span for span in traces.of_kind(CLIENT) if span["attributes"]["db.system.name"] == "redis"]
    assert commands
    requests = {span["trace_id"] for span in traces.of_kind(SERVER)}
    assert all(span["trace_id"] in requests for span in traces.spans)


def test_traces_contain_no_personal_data_and_no_secrets(
    serve: Callable[..., Service], traces: Collector, new_database: str
) -> None:
    service = _service(serve, traces, new_database, **ALWAYS)
    headers = first_administrator(service)
    user = service.post("/api/users", ADA, headers=headers).json
    # The message of PostgreSQL contains the email.
    assert service.post("/api/users", {**ADA, "username": "other"}, headers=headers).status == 409
    path = f"/api/users/{user['id']}"
    assert service("PATCH", path, {"password": PASSWORD}, headers=headers).status == 200
    for query in ("q=ada-secret", "email=ada-secret@example.com", "attributes.team=ada-secret", "q=ada-secret%00"):
        service.get(f"/api/users?{query}", headers={**headers, **PERSONAL})
    origin = {"Origin": f"http://127.0.0.1:{service.port}"}
    for password in (PASSWORD, "wrong horse battery"):
        service.post("/api/session", {"email": ADA["email"], "password": password}, headers=origin)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port)) as browser:
        browser.request("GET", "/people?q=ada-secret")
        assert browser.getresponse().status == 302
    service.get("/ada-secret/ada-secret@example.com")
    assert service("DELETE", f"{path}?purge=true", None, headers=headers).status == 204
    assert service.end() == 0
    token = headers["Authorization"].removeprefix("Bearer ")
    for secret in ("ada-secret", "Lovelace", PASSWORD, "wrong horse", token, token[-20:], "192.0.2.7"):
        assert not [span for span in traces.spans if secret in str(span)]
        assert secret.encode() not in traces.raw, secret
    assert {span["attributes"].get("http.response.status_code") for span in traces.of_kind(SERVER)} >= {201, 409, 401}


def test_the_id_of_a_trace_is_continued_shown_and_logged(
    serve: Callable[..., Service], traces: Collector, new_database: str
) -> None:
    service = _service(serve, traces, new_database, OTEL_BSP_SCHEDULE_DELAY="50")
    headers = first_administrator(service)
    missing = service.get(f"/api/users/{NOBODY}", headers={**headers, **PARENT})
    assert (missing.status, missing.json["trace_id"]) == (404, TRACE)
    wait_until(lambda: any(span["trace_id"] == TRACE for span in traces.of_kind(SERVER)))
    (line,) = [event for event in service.events if event.get("request_id") == missing.json["instance"]]
    assert (line["event"], line["trace_id"]) == ("request", TRACE)
    assert "trace_id" not in service.get(f"/api/users/{NOBODY}", headers={**headers, **NOT_SAMPLED}).json
    # A malformed Host is refused as without traces.
    assert service.get("/api/users", headers={**headers, "Host": "a b"}).status == 400


def test_one_request_in_a_hundred_is_traced_by_default(
    serve: Callable[..., Service], traces: Collector, new_database: str
) -> None:
    service = _service(serve, traces, new_database)
    headers = first_administrator(service)
    for number in range(200):
        assert service.get(f"/api/users?q=number{number}", headers=headers).status == 200
    assert service.get("/api/me", headers={**headers, **PARENT}).status == 200
    assert service.end() == 0
    assert 0 < len(traces.of_kind(SERVER)) < 20


def test_the_share_of_traced_requests_can_be_set(
    serve: Callable[..., Service], traces: Collector, new_database: str
) -> None:
    service = _service(serve, traces, new_database, OTEL_TRACES_SAMPLER_ARG="1")
    assert service.get("/api/users").status == 200
    assert service.end() == 0
    assert [span["attributes"]["http.route"] for span in traces.of_kind(SERVER)] == ["/api/users"]


def test_without_a_collector_the_service_works(serve: Callable[..., Service], new_database: str) -> None:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **ALWAYS}
    service = serve(DATABASE_URL=new_database, WORKERS="1", **settings)
    headers = first_administrator(service)
    for number in range(20):
        response = service.get(f"/api/users?q=number{number}", headers=headers)
        assert (response.status, response.seconds < 2) == (200, True)
    assert service.end() == 0


def test_a_collector_that_does_not_answer_delays_no_stop(serve: Callable[..., Service], new_database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        service = serve(DATABASE_URL=new_database, WORKERS="1", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **ALWAYS)
        first_administrator(service)
        assert service.end() == 0
        assert "process_killed" not in service.text


def test_without_the_setting_nothing_is_instrumented() -> None:
    code = (
        "import sys; from app.factory import create_app; create_app();"
        "sys.exit(any(name.startswith(('opentelemetry.instr', 'opentelemetry.exp')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), check=False).returncode == 0
