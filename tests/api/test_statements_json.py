"""PostgreSQL's JSON of a user equals that of orjson byte for byte."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
import pytest
from flask import Flask
from hypothesis import example, given

from app.http.services import services, services_of
from app.schemas import ListQuery
from app.users.sql import GET_USERS
from tests.support.api_client import ApiClient
from tests.support.rows import insert_user, serialized_user
from tests.support.strategies import NASTY, ROW, UNHURRIED


@UNHURRIED
@given(row=ROW)
@example(row={"created_at": datetime(2026, 1, 2, 3, 4, 5, 100_000, UTC), "updated_at": datetime(1, 1, 2, tzinfo=UTC)})
@example(
    row={"created_at": datetime(9999, 12, 30, 23, 59, 59, 10, UTC), "deleted_at": datetime(2026, 1, 1, tzinfo=UTC)}
)
@example(row={"username": '\b\f\n\r\t\x01\x1f\x7f\x9f\u2028"\\/', "email": "", "name": "\ufeff\uffff\U0010ffff"})
def test_json_made_by_postgresql_is_ours_to_the_byte(
    app: Flask, clear_tables: Callable[[], None], row: dict[str, Any]
) -> None:
    clear_tables()
    with app.app_context():
        services_of(app).generations.invalidate()
        require_same_json(insert_user(**row), trashed=row.get("deleted_at") is not None)


@pytest.mark.parametrize("trashed", [False, True], ids=["live", "trash"])
@pytest.mark.parametrize("kind", NASTY)
def test_users_of_all_kinds_are_the_same_by_every_statement(
    app: Flask, api: ApiClient, kind: str, trashed: bool
) -> None:
    response = api.post("/users", NASTY[kind])
    user_id = uuid.UUID(response.json["id"])
    with app.app_context():
        assert response.data == serialized_user(user_id)
        changed = api.patch(f"/users/{user_id}", {"name": "Someone \\ else"})
        assert changed.data == serialized_user(user_id)
        if trashed:
            api.delete(f"/users/{user_id}")
        require_same_json(user_id, trashed=trashed)


@pytest.mark.parametrize("text", ['{ "a" : 1.50 }', '{"\\u0041":"\\u00e9\\/"}', "{\n}", '{"a":1e+20,"a":2}'])
def test_attributes_that_somebody_wrote_by_hand_are_passed_on_as_they_are(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], text: str
) -> None:
    user_id = uuid.UUID(api.create_user()["id"])
    database.execute("UPDATE users SET attributes = %s::json WHERE id = %s", [text, user_id])
    with app.app_context():
        services_of(app).generations.invalidate()
        require_same_json(user_id, trashed=False)
        assert text.encode() in serialized_user(user_id)


def require_same_json(user_id: uuid.UUID, *, trashed: bool) -> None:
    """What all statements that read write of this user."""
    plain = serialized_user(user_id)
    assert services().user_pages.page(ListQuery(deleted=trashed)).body == b"[" + plain + b"]"
    found = services().database.execute(GET_USERS, {"ids": str(user_id)}).fetchall()
    assert found == ([] if trashed else [(user_id, orjson.loads(plain)["version"], plain.decode())])
