"""A client of the API. It checks that each response satisfies what docs/api.md promises of all responses."""

import itertools
import json
import re
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

SORTS = [sign + field for sign in ("", "-") for field in ("created_at", "updated_at", "name", "username", "email")]
_NUMBERS = itertools.count(1)
_LINK = re.compile(r'<([^>]*)>; rel="(\w+)"')
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class ApiClient:
    """Calls the application in this process. Paths are relative to `base`."""

    def __init__(self, app: Flask, base: str = "/api") -> None:
        self.app, self.base = app, base
        self.flask_client = app.test_client()

    def __call__(self, method: str, path: str, **kwargs: Any) -> TestResponse:
        """Send a request, and check the response, see `check`."""
        response = self.flask_client.open(self.base + path, method=method, **kwargs)
        check(method, response.status_code, response.headers, response.data)
        return response

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> TestResponse:
        return self("POST", path, **_with(body, kwargs))

    def put(self, path: str, body: Any, **kwargs: Any) -> TestResponse:
        return self("PUT", path, **_with(body, kwargs))

    def patch(self, path: str, body: Any, **kwargs: Any) -> TestResponse:
        return self("PATCH", path, **_with(body, kwargs))

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self("DELETE", path, **kwargs)

    def create_user(self, **fields: Any) -> dict[str, Any]:
        """Create a user, with a unique username unless a username or an email is given."""
        if "email" not in fields and "username" not in fields:
            fields["username"] = f"user-{next(_NUMBERS)}"
        response = self.post("/users", fields)
        assert response.status_code == 201, response.text
        return response.json

    def list_users(self, **query: Any) -> list[dict[str, Any]]:
        response = self.get("/users", query_string=query)
        assert response.status_code == 200, response.text
        return response.json

    def walk(self, relation: str = "next", start: str | None = None, **query: Any) -> list[dict[str, Any]]:
        """All users of a list, read page by page, in the order of the pages."""
        return [user for page in self.pages(relation, start, **query) for user in page]

    def pages(self, relation: str = "next", start: str | None = None, **query: Any) -> list[list[dict[str, Any]]]:
        """All pages of a list. With `prev`: the pages before `start`, in the order of the list."""
        response = self.get("/users", query_string=query) if start is None else self.follow(start)
        found = [response.json]
        while (url := links(response).get(relation)) is not None:
            response = self.follow(url)
            found.append(response.json)
            assert len(found) < 5000, "the pages do not end"
        return found if relation == "next" else found[::-1]

    def last_page(self, **query: Any) -> TestResponse:
        response = self.get("/users", query_string=query)
        while (url := links(response).get("next")) is not None:
            response = self.follow(url)
        return response

    def follow(self, url: str) -> TestResponse:
        """Get a URL of a Link header."""
        path = url.split("://", 1)[1].split("/", 1)[1]
        response = self.get(f"/{path}".removeprefix(self.base))
        assert response.status_code == 200, response.text
        return response


def _with(body: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    if isinstance(body, bytes):
        return {"data": body, "content_type": "application/json", **kwargs}
    return kwargs if body is None else {"json": body, **kwargs}


def links(response: Any) -> dict[str, str]:
    """The URLs of the Link headers of a response, by relation."""
    headers = response.headers.get_all("Link") or []
    return {relation: url for header in headers for url, relation in _LINK.findall(header)}


def check(method: str, status: int, headers: Any, body: bytes) -> None:
    """Check what docs/api.md promises of every response."""
    assert status < 500 or status == 503, (status, body)
    assert headers["X-Request-ID"]
    kind = headers.get("Content-Type", "")
    assert "html" not in kind, body
    if method == "HEAD" or status in (204, 304):
        assert body == b""
        return
    # A health response with status 503 is no problem document.
    if status >= 400 and not (status == 503 and kind == "application/json"):
        check_problem(status, headers, body)
    elif method != "OPTIONS":
        assert kind == "application/json", (status, kind, body)
        json.loads(body)


def check_problem(status: int, headers: Any, body: bytes) -> None:
    """Check the body of an error response (RFC 9457)."""
    assert headers["Content-Type"] == "application/problem+json", body
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["instance"] == headers["X-Request-ID"]
    assert {"type", "title", "detail"} < problem.keys()
    assert all(isinstance(problem[name], str) for name in ("type", "title", "detail"))
    for fault in problem.get("errors", []):
        assert fault.keys() == {"field", "message"}
    for trace in ("Traceback", "psycopg", "SELECT ", "sqlalchemy"):
        assert trace not in body.decode()
    if status == 503:
        assert int(headers["Retry-After"]) >= 1


def error_fields(response: TestResponse) -> set[str]:
    """The fields that an error response names."""
    return {fault["field"] for fault in response.json.get("errors", [])}


def is_timestamp(text: str) -> bool:
    return _MOMENT.fullmatch(text) is not None
