"""Values arrive in PostgreSQL as they were given; U+0000, which it cannot hold, is refused and never cut."""

import uuid
from typing import Any

import hypothesis.strategies as st
import orjson
import psycopg
import pytest
from door import Door
from flask import Flask
from hypothesis import example, given
from samples import UNHURRIED

from app.errors import Malformed
from app.extensions import asked
from app.infra.postgres import Statement
from app.services.statements import MADE


@given(values=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
@example(values=["", "{}", "NULL", '"', "\\", '\\"', ",", " a ", '{"a"}', "\n\t\b", "田中", "'", "$1"])
@UNHURRIED
def test_a_list_arrives_as_it_was_given(app: Flask, values: list[str]) -> None:
    with app.app_context():
        found = asked(Statement("SELECT array_to_json($1::text[])::text"), values)
    assert orjson.loads(found.get_value(0, 0)) == values


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT $1::text", "ada\0bob"),
        ("SELECT $1::text", "\0"),
        ("SELECT $1::text", b"ada\0"),
        ("SELECT $1::json", orjson.dumps({"a": 1}) + b"\0"),
        ("SELECT $1::text[]", ["ada", "b\0b"]),
        ("SELECT $1::text[]", ("\0",)),
    ],
)
@pytest.mark.parametrize("name", ["", "nul"])
def test_u0000_is_refused_and_never_cut(app: Flask, spied: list[Statement], sql: str, value: object, name: str) -> None:
    with app.app_context(), pytest.raises(Malformed, match=r"U\+0000"):
        asked(Statement(sql, name), value)
    assert spied == []


@pytest.mark.parametrize("place", range(17))
def test_u0000_in_any_value_of_a_new_user_makes_nobody(
    app: Flask, api: Door, database: psycopg.Connection[Any], place: int
) -> None:
    given_values: list[object] = [
        uuid.uuid4(), "ada", "ada", "a@b.c", "a@b.c", "Ada", "ada", "member", True, b"{}", None, ["ada"],
        None, "192.0.2.1", "Agent", "request", b"[]",
    ]  # fmt: skip
    with app.app_context():
        given_values[place] = "ada\0" if place != 11 else ["ada", "\0"]
        with pytest.raises(Malformed):
            asked(MADE, *given_values)
    assert database.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert api.make(username="ada")["version"] == 1


@pytest.mark.parametrize(
    "path", ["/users?q=a%00", "/users?email=a%00@b", "/users?attributes.a=%00", "/users?attributes.%00=a"]
)
def test_u0000_in_a_query_is_400(api: Door, path: str) -> None:
    assert api.get(path).status_code == 400
