"""The OpenAPI document, and the page of the API docs."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.api_client import ApiClient
from tests.support.secured_app import PASSWORD, SecuredApp


@pytest.fixture
def document(api: ApiClient) -> dict[str, Any]:
    return api.get("/openapi.json").json


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()


def test_it_is_openapi_3_1_of_this_release(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"]
    assert set(document["paths"]) == {
        "/api/users",
        "/api/users/{user_id}",
        "/api/users/{user_id}/restore",
        "/api/users/{user_id}/history",
        "/api/users/{user_id}/sessions",
        "/api/users/{user_id}/sessions/{session_id}",
        "/api/users/{user_id}/unlock",
        "/api/session",
        "/api/me",
        "/api/me/password",
        "/api/me/sessions",
        "/api/me/sessions/{session_id}",
        "/api/tokens",
        "/api/tokens/{token_id}",
        "/api/health",
        "/api/health/live",
        "/api/health/ready",
    }


def test_every_reference_leads_somewhere_and_every_schema_is_one(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    for reference in set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', text)):
        assert reference in document["components"]["schemas"]
    for name, schema in document["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}), name
    ids = re.findall(r'"operationId": "(\w+)"', text)
    assert len(ids) == len(set(ids)) == 27


def test_every_answer_says_its_media_type(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            for status, response in operation["responses"].items():
                kinds = set(response.get("content", {}))
                if status in ("204", "304"):
                    assert kinds == set()
                elif status == "503" and "/health" in path:
                    assert kinds == {"application/json"}
                else:
                    assert kinds == {"application/problem+json" if int(status) >= 400 else "application/json"}, (
                        path,
                        status,
                    )
    patch = document["paths"]["/api/users/{user_id}"]["patch"]
    assert set(patch["requestBody"]["content"]) == {"application/json", "application/merge-patch+json"}


def test_no_schema_of_an_answer_has_a_password(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert "password" not in json.dumps(schemas["User"])
    assert schemas["UserDraft"]["properties"]["password"]


def test_it_says_what_needs_a_credential_and_which(document: dict[str, Any]) -> None:
    kinds = {name: scheme["type"] for name, scheme in document["components"]["securitySchemes"].items()}
    assert kinds == {"token": "http", "session": "apiKey"}
    assert document["security"] == [{"token": []}, {"session": []}]
    public = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation.get("security") == []
    }
    assert public == {"POST /api/session", "GET /api/health", "GET /api/health/live", "GET /api/health/ready"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if f"{method.upper()} {path}" not in public:
                assert {"401", "403"} <= operation["responses"].keys(), (method, path)


def test_responses_of_sign_in_match_their_schemas(secured_app: SecuredApp) -> None:
    document = secured_app.anonymous.get("/openapi.json").json
    user = secured_app.create_user()
    made = secured_app.token(user)
    given = {
        "Identity": secured_app.admin.get("/session").json,
        "NewToken": made,
        "TokenList": secured_app.admin.get("/tokens").json,
        "SessionList": secured_app.session_client(user).get("/me/sessions").json,
        "HistoryList": secured_app.admin.get(f"/users/{user['id']}/history").json,
    }
    for name, instance in [*given.items(), ("Identity", secured_app.token_client(user).get("/session").json)]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        assert jsonschema_rs.validator_for(schema).is_valid(instance), name


def test_responses_match_their_schemas(api: ApiClient, document: dict[str, Any]) -> None:
    user = api.create_user(email="a@example.org", attributes={"deep": [None, {"x": 1.5}]}, password="p" * 10)
    api.patch(f"/users/{user['id']}", {"name": "Ada", "attributes": {"n": 1}})
    gone = api.create_user(username="gone")
    api.delete(f"/users/{gone['id']}")
    given = {
        "User": api.get(f"/users/{user['id']}").json,
        "UserList": api.list_users(),
        "HistoryList": api.get(f"/users/{user['id']}/history").json,
        "Problem": api.get("/users/nobody").json,
        "HealthReport": api.get("/health").json,
    }
    for name, instance in [*given.items(), ("UserList", api.list_users(deleted="true"))]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        assert jsonschema_rs.validator_for(schema).is_valid(instance), name


def test_each_example_matches_its_schema(document: dict[str, Any]) -> None:
    """Every object of the API has an example, and the service's own schema takes it."""
    schemas = document["components"]["schemas"]
    parts = {"CheckReport", "FieldChange", "FieldError", "Role", "UserList", "HistoryList", "SessionList", "TokenList"}
    for name in schemas.keys() - parts:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        assert jsonschema_rs.validator_for(schema).is_valid(schemas[name]["example"]), name


def test_the_headers_of_answers_are_those_that_are_declared(secured_app: SecuredApp) -> None:
    """Link, ETag, Location, X-Total-Count, Retry-After and their like, where they are declared."""
    document = secured_app.anonymous.get("/openapi.json").json
    usual = {"Content-Type", "Content-Length", "Cache-Control", "Vary"}
    usual |= {"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy"}
    operations = {one["operationId"]: one for path in document["paths"].values() for one in path.values()}

    def declared(operation: str, status: int) -> set[str]:
        return set(operations[operation]["responses"][str(status)]["headers"])

    made = secured_app.admin.post("/users", {"username": "ada"}, headers={"Idempotency-Key": "k"})
    path = f"/users/{made.json['id']}"
    again = secured_app.admin.post("/users", {"username": "ada"}, headers={"Idempotency-Key": "k"})
    answers = {
        "createUser": [
            made,
            again,
            secured_app.admin.post("/users", {"username": "ada"}),
            secured_app.anonymous.post("/users", {}),
        ],
        "listUsers": [
            secured_app.admin.get("/users", headers={"Prefer": "count=exact"}),
            secured_app.anonymous.get("/users"),
        ],
        "getUser": [secured_app.admin.get(path), secured_app.admin.get(path, headers={"If-None-Match": '"1"'})],
        "updateUser": [secured_app.admin.patch(path, {"name": "Ada"})],
        "replaceUser": [secured_app.admin.put(path, {"username": "ada"})],
        "getUserHistory": [secured_app.admin.get(f"{path}/history")],
        "createToken": [secured_app.admin.post("/tokens", {"name": "t", "role": "viewer"})],
        "signIn": [secured_app.sign_in({"username": "root", "password": PASSWORD})],
    }
    seen = set()
    for operation, given in answers.items():
        for response in given:
            names = set(response.headers.keys()) - usual
            assert names <= declared(operation, response.status_code), operation
            seen |= names
    assert {"Link", "ETag", "Location", "X-Total-Count", "Idempotent-Replayed", "WWW-Authenticate"} <= seen
    for responses in (operation["responses"] for operation in operations.values()):
        assert all("Retry-After" in responses[status]["headers"] for status in {"429", "503"} & responses.keys())


def test_the_example_bodies_of_the_page_are_accepted(api: ApiClient, document: dict[str, Any]) -> None:
    examples = {name: document["components"]["schemas"][name]["example"] for name in ("UserDraft", "UserPatch")}
    made = api.post("/users", examples["UserDraft"])
    assert made.status_code == 201
    changed = api.patch(f"/users/{made.json['id']}", examples["UserPatch"])
    assert changed.status_code == 200
    assert changed.json["version"] == 2


def test_the_page_needs_nothing_from_elsewhere(browser: FlaskClient) -> None:
    page = browser.get("/api/docs")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    for address in addresses:
        assert "//" not in address
        asset = browser.get(f"/api/{address}" if not address.startswith("/") else address)
        assert asset.status_code == 200, address
        asset.close()
    assert "<script>" not in page.text


@pytest.mark.parametrize(
    "name", ["nothing.js", "../openapi.json", "..%2f..%2f..%2fconfig.py", "%00", "start.js/x", "/etc/passwd"]
)
def test_only_files_of_the_page_are_given(browser: FlaskClient, name: str) -> None:
    response = browser.get(f"/api/docs/{name}")
    assert response.status_code in (400, 404)
    assert response.mimetype == "application/problem+json"
