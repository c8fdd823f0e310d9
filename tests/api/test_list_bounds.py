"""A list has at most ten filters, and each of its statements takes at most two seconds."""

import time
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from app.search import bounds
from tests.support.api_client import ApiClient, error_fields
from tests.support.secured_app import SecuredApp

ATTRIBUTES = [(f"attributes.k{number}", "v") for number in range(40)]
OTHERS = [("q", "ada"), ("role", "member"), ("active", "true"), ("created_after", "2020-01-01T00:00:00Z")]


@pytest.mark.parametrize("others", range(len(OTHERS) + 1))
def test_ten_filters_are_accepted_and_eleven_refused(api_or_root: ApiClient, others: int) -> None:
    few = [*OTHERS[:others], *ATTRIBUTES[: 10 - others]]
    assert api_or_root.get(f"/users?{urlencode([*few, ('sort', 'name'), ('limit', '5')])}").status_code == 200
    for more in (1, 30):
        response = api_or_root.get(f"/users?{urlencode([*OTHERS[:others], *ATTRIBUTES[: 10 - others + more]])}")
        assert (response.status_code, error_fields(response)) == (422, {"attributes"})
        assert "10 filters" in response.json["errors"][0]["message"]


def test_cached_responses_and_the_console_enforce_the_filter_limit(secured_app: SecuredApp) -> None:
    token = secured_app.token_client(secured_app.admin.user)
    query = urlencode(ATTRIBUTES[:11])
    for client in (token, token, secured_app.admin):
        assert client.get(f"/users?{query}").status_code == 422
    page = secured_app.admin.flask_client.get(f"/people?{query}", headers=secured_app.admin.headers)
    assert page.status_code == 422


@pytest.mark.parametrize("query", ["", "?q=ada", "?q=ada&created_after=2020-01-01T00:00:00Z", "?attributes.plan=pro"])
def test_a_list_query_that_takes_too_long_is_cancelled(
    secured_app: SecuredApp, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    # In setup mode, the console asks for an administrator first.
    api = secured_app.token_client(secured_app.admin.user)
    # Less than any wait for a lock.
    monkeypatch.setattr(bounds, "STATEMENT_TIMEOUT_S", 0.5)
    assert api.post("/users", {"username": "ada"}).status_code == 201
    assert api.get(f"/users{query}").status_code == 200
    # What memory keeps is of no use now.
    assert api.post("/users", {"username": "bob"}).status_code == 201
    with database.transaction():
        database.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        response = api.get(f"/users{query}{'&' if query else '?'}limit=7")
        assert response.status_code == 503
        assert 0.4 < time.monotonic() - began < 1.4
    assert api.get(f"/users{query}").status_code == 200
