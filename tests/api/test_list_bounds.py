"""Fault 32: a list takes ten filters at most, and a statement of it two seconds."""

import time
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from app.search import bounds
from tests.support.api_client import ApiClient, faulty
from tests.support.secured_app import SecuredApp

ATTRIBUTES = [(f"attributes.k{number}", "v") for number in range(40)]
OTHERS = [("q", "ada"), ("role", "member"), ("active", "true"), ("created_after", "2020-01-01T00:00:00Z")]


@pytest.mark.parametrize("others", range(len(OTHERS) + 1))
def test_ten_filters_are_taken_and_not_one_more(any_door: ApiClient, others: int) -> None:
    few = [*OTHERS[:others], *ATTRIBUTES[: 10 - others]]
    assert any_door.get(f"/users?{urlencode([*few, ('sort', 'name'), ('limit', '5')])}").status_code == 200
    for more in (1, 30):
        answer = any_door.get(f"/users?{urlencode([*OTHERS[:others], *ATTRIBUTES[: 10 - others + more]])}")
        assert (answer.status_code, faulty(answer)) == (422, {"attributes"})
        assert "10 filters" in answer.json["errors"][0]["message"]


def test_cached_responses_and_the_console_know_the_rule(house: SecuredApp) -> None:
    token = house.by_token(house.admin.user)
    query = urlencode(ATTRIBUTES[:11])
    for who in (token, token, house.admin):
        assert who.get(f"/users?{query}").status_code == 422
    page = house.admin.flask_client.get(f"/people?{query}", headers=house.admin.headers)
    assert page.status_code == 422


@pytest.mark.parametrize("query", ["", "?q=ada", "?q=ada&created_after=2020-01-01T00:00:00Z", "?attributes.plan=pro"])
def test_a_list_that_takes_too_long_is_given_up(
    house: SecuredApp, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    # A service that is open asks for an administrator first.
    api = house.by_token(house.admin.user)
    # Less than any wait for a lock.
    monkeypatch.setattr(bounds, "STATEMENT_TIMEOUT_S", 0.5)
    assert api.post("/users", {"username": "ada"}).status_code == 201
    assert api.get(f"/users{query}").status_code == 200
    # What memory keeps is of no use now.
    assert api.post("/users", {"username": "bob"}).status_code == 201
    with database.transaction():
        database.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        answer = api.get(f"/users{query}{'&' if query else '?'}limit=7")
        assert answer.status_code == 503
        assert 0.4 < time.monotonic() - began < 1.4
    assert api.get(f"/users{query}").status_code == 200
