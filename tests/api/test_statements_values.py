"""Values reach PostgreSQL unchanged; U+0000 is refused."""

import uuid
from typing import Any

import hypothesis.strategies as st
import orjson
import psycopg
import pytest
from flask import Flask
from hypothesis import assume, example, given
from psycopg.types.json import Json

from app.errors import BadRequest
from app.http.parsing import parse_json
from app.http.services import services
from app.users.sql import WRITE_USERS
from tests.support.api_client import ApiClient
from tests.support.strategies import UNHURRIED


def execute(app: Flask, sql: str, value: object, *, prepare: bool = True) -> object:
    """The value that a statement with one parameter returns."""
    with app.app_context():
        database = services().database
        return database.execute(sql, {"value": value}, prepare=prepare).fetchone()[0]


@given(values=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
@example(
    values=["", "{}", "NULL", '"', "\\", '\\"', ",", " a ", '{"a"}', "\n\t\b", "田中", "'", "$1", "%s", "%(value)s"]
)
@UNHURRIED
def test_a_list_arrives_as_it_was_given(app: Flask, values: list[str]) -> None:
    assert execute(app, "SELECT array_to_json(%(value)s::text[])", values) == values


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT %(value)s::text", "ada\0bob"),
        ("SELECT %(value)s::text", "\0"),
        ("SELECT %(value)s::json", '{"a": 1}\0'),
        ("SELECT %(value)s::text[]", ["ada", "b\0b"]),
        ("SELECT %(value)s::text[]", ["\0"]),
    ],
)
@pytest.mark.parametrize("prepare", [False, True])
def test_u0000_is_refused_and_never_cut(app: Flask, sql: str, value: object, prepare: bool) -> None:
    with pytest.raises(BadRequest, match=r"U\+0000"):
        execute(app, sql, value, prepare=prepare)


NUL = [
    "\0",
    "a\0b",
    "\\\0",
    "\\\\\0",
    {"a": ["\0"]},
    {"\0": 1},
]
NO_NUL = ["", "\\u0000", "\\\\u0000", {"a\\u0000": ["\\u0000"]}, "u0000", "0"]


@pytest.mark.parametrize("value", NUL)
def test_u0000_anywhere_in_json_is_refused(value: object) -> None:
    with pytest.raises(BadRequest, match=r"U\+0000"):
        parse_json(orjson.dumps([{"id": 1, "value": value}]))


@pytest.mark.parametrize("value", NO_NUL)
def test_what_only_looks_like_u0000_arrives(app: Flask, value: object) -> None:
    document = parse_json(orjson.dumps({"value": value}))
    text = execute(app, "SELECT (%(value)s::json->>'value')", Json(document))
    assert (orjson.loads(text) if isinstance(value, dict) else text) == value


@given(value=st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
@UNHURRIED
def test_json_is_refused_if_and_only_if_it_holds_u0000(value: object) -> None:
    def texts(part: object) -> list[str]:
        if isinstance(part, str):
            return [part]
        inner = [*part, *part.values()] if isinstance(part, dict) else part
        return [text for item in inner for text in texts(item)]

    found = texts(value)
    assume(not any("\ud800" <= character <= "\udfff" for text in found for character in text))
    refused = False
    try:
        assert parse_json(orjson.dumps(value)) == value
    except BadRequest:
        refused = True
    assert refused == any("\0" in text for text in found)


@pytest.mark.parametrize("column", ["username", "name", "email", "lexemes", "agent"])
def test_u0000_in_any_value_of_a_new_user_is_refused(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], column: str
) -> None:
    row: dict[str, object] = {
        "id": uuid.uuid4(), "username": "ada", "username_key": "ada", "name": "Ada", "name_key": "ada",
        "role": "member", "active": True, "attributes": {}, "lexemes": ["ada"], "changes": [],
    }  # fmt: skip
    row[column] = ["ada", "\0"] if column == "lexemes" else "a\0"
    with app.app_context(), pytest.raises(BadRequest):
        services().database.execute(WRITE_USERS, {"pending_writes": Json([row]), "lock_timeout": "0"})
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert api.create_user(username="ada")["version"] == 1


@pytest.mark.parametrize("body", [{"attributes": {"a": "\0"}}, {"attributes": {"\0": 1}}, {"username": "a\0b"}])
def test_u0000_in_the_json_of_a_request_is_400(api: ApiClient, database: psycopg.Connection[Any], body: object) -> None:
    assert api.post("/users", {"username": "ada"} | body).status_code == 400
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)


@pytest.mark.parametrize(
    "path", ["/users?q=a%00", "/users?email=a%00@b", "/users?attributes.a=%00", "/users?attributes.%00=a"]
)
def test_u0000_in_a_query_is_400(api: ApiClient, path: str) -> None:
    assert api.get(path).status_code == 400
