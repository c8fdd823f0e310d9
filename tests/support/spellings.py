"""Spellings of one identifier, and all requests that can set an identifier."""

# ruff: noqa: RUF001 - letters that look alike are the point

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support.api_client import ApiClient

ANNA = "anna@bücher.example"
SPELLINGS = [
    "anna@xn--bcher-kva.example",
    "anna@ｂücher.example",
    "anna@bücher。example",
    "Ａnna@BU\u0308CHER.EXAMPLE",
]
"""Other spellings of ANNA."""

Write = Callable[[ApiClient, str, dict[str, Any]], TestResponse]
"""Updates a user, or replaces the user by a new one, with these fields."""


def _posted(api: ApiClient, user_id: str, fields: dict[str, Any]) -> TestResponse:
    api.delete(f"/users/{user_id}")
    return api.post("/users", fields)


def _posted_once(api: ApiClient, user_id: str, fields: dict[str, Any]) -> TestResponse:
    api.delete(f"/users/{user_id}")
    return api.post("/users", fields, headers={"Idempotency-Key": uuid.uuid4().hex})


def _put_new(api: ApiClient, user_id: str, fields: dict[str, Any]) -> TestResponse:
    api.delete(f"/users/{user_id}")
    return api.put(f"/users/{uuid.uuid4()}", fields)


def _put(api: ApiClient, user_id: str, fields: dict[str, Any]) -> TestResponse:
    return api.put(f"/users/{user_id}", fields)


def _patched(api: ApiClient, user_id: str, fields: dict[str, Any]) -> TestResponse:
    return api.patch(f"/users/{user_id}", fields)


def _patched_alone(api: ApiClient, user_id: str, fields: dict[str, Any]) -> TestResponse:
    return api.patch(f"/users/{user_id}", {**fields, "role": "viewer"})


WRITES = pytest.mark.parametrize("write", [_posted, _posted_once, _put_new, _put, _patched, _patched_alone])


def refusal(response: TestResponse) -> tuple[int, list[dict[str, str]]]:
    return response.status_code, response.json.get("errors", [])


def taken_refusal(field: str) -> tuple[int, list[dict[str, str]]]:
    return 409, [{"field": field, "message": "is taken by another user"}]
