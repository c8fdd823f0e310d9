"""Timestamps at the limits of PostgreSQL and of JSON clients."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from app.http.services import services
from tests.support.api_client import ApiClient, error_fields, links
from tests.support.console_client import send
from tests.support.secured_app import SecuredApp

REFUSED: list[Any] = [
    "9999-12-31T23:59:59-14:00",
    "9999-12-31T23:59:59.999999-00:01",
    "0001-01-01T00:00:00+14:00",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "2999-01-01T00:00:00+24:00",
    "2999-01-01T00:00:00+99:99",
    "2999-02-30T00:00:00Z",
    "2999-01-01T24:00:00Z",
    "2999-01-01",
    "2999-01-01T00:00:00",
    "infinity",
    "4102444800",
    "",
]
NO_STRINGS: list[Any] = [4102444800, 32503680000, 4102444800.5, -1, 0, 1e300, True, [], {}]
TAKEN = {
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59.000000Z",
    "9999-12-31T23:59:59.999999+00:00": "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59+23:59": "9999-12-31T00:00:59.000000Z",
    "9999-12-31T10:00:00-13:59": "9999-12-31T23:59:00.000000Z",
    "2999-01-01t00:00:00.5-23:59": "2999-01-01T23:59:00.500000Z",
}


@pytest.mark.parametrize("value", [*REFUSED, *NO_STRINGS], ids=str)
def test_a_time_outside_the_range_of_postgresql_is_refused_by_its_field(secured_app: SecuredApp, value: Any) -> None:
    """The breaker stays closed: the next request is answered."""
    response = secured_app.admin.post("/tokens", {"name": "a program", "role": "member", "expires_at": value})
    assert response.status_code == 422, response.text
    assert error_fields(response) == {"expires_at"}
    assert secured_app.admin.get("/tokens").json == []
    assert secured_app.admin.get(f"/users/{secured_app.admin.id}/history").status_code == 200


@pytest.mark.parametrize(("value", "kept"), TAKEN.items(), ids=TAKEN)
def test_a_time_at_the_edge_is_kept_in_utc_and_shown(secured_app: SecuredApp, value: str, kept: str) -> None:
    token = secured_app.token(secured_app.admin.user, "viewer", expires_at=value)
    assert token["expires_at"] == kept
    assert secured_app.admin.get("/tokens").json[0]["expires_at"] == kept
    assert secured_app.bearer_client(token["token"]).get("/users").status_code == 200
    page = secured_app.app.test_client(use_cookies=False).get("/api-tokens", headers=secured_app.admin.headers)
    assert page.status_code == 200


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize("value", REFUSED, ids=str)
def test_a_filter_takes_the_same_times(api: ApiClient, name: str, value: str) -> None:
    api.create_user()
    response = api.get("/users", query_string={name: value, "q": "u"}, headers={"Prefer": "count=exact"})
    assert response.status_code == 422, response.text
    assert error_fields(response) == {name}
    assert len(api.list_users(q="u")) == 1


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize("value", [*TAKEN, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00-23:59"])
def test_a_filter_takes_every_time_of_the_calendar(api: ApiClient, name: str, value: str) -> None:
    user = api.create_user()
    expected = [user] if (name == "created_after") == value.startswith("0001") else []
    for sort in ("created_at", "-updated_at", "name"):
        assert api.list_users(sort=sort, **{name: value}) == expected


@pytest.mark.parametrize("sort", ["created_at", "-updated_at"])
def test_cursors_at_the_edges_of_the_calendar_lead_through_the_whole_list(
    api: ApiClient, database: Any, sort: str
) -> None:
    made = [api.create_user()["id"] for _ in range(4)]
    edges = ("0001-01-01T00:00:00Z", "0999-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
    for user_id, edge in zip(made, edges, strict=True):
        database.execute("UPDATE users SET created_at = %s, updated_at = %s WHERE id = %s", [edge, edge, user_id])
    found = [user["id"] for user in api.walk(limit=1, sort=sort)]
    assert found == (made if sort == "created_at" else made[::-1])
    assert "prev" in links(api.last_page(limit=1, sort=sort))


@pytest.mark.parametrize("value", [*REFUSED, "2026-01-01T00:00:00+99:99"], ids=str)
def test_the_undo_of_a_form_takes_the_same_times(admin: FlaskClient, value: str) -> None:
    response = send(admin, "/people/bulk", action="restore", deleted_at=value)
    # An empty field counts as left out, and no user is selected.
    assert response.status_code == 422, response.text
    assert admin.get("/people").status_code == 200


def test_a_form_refuses_a_token_lifetime_that_it_does_not_offer(admin: FlaskClient) -> None:
    response = send(admin, "/api-tokens", name="a program", role="viewer", days="1e9")
    assert response.status_code == 422
    assert admin.get("/api/tokens").json == []


@pytest.fixture
def invoke(secured_app: SecuredApp) -> Callable[..., Result]:
    runner = secured_app.app.test_cli_runner()
    return lambda *words: runner.invoke(args=["tokens", "create", "--user", "root", "--role", "viewer", *words])


@pytest.mark.parametrize(("given", "hours"), [("1h", 1), ("9999d", 9999 * 24), ("9999w", 9999 * 7 * 24)])
def test_a_command_takes_a_time_from_now(
    secured_app: SecuredApp, invoke: Callable[..., Result], given: str, hours: int
) -> None:
    assert invoke("--name", "a program", "--expires-in", given).exit_code == 0
    (token,) = secured_app.admin.get("/tokens").json
    left = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert left.total_seconds() == pytest.approx(hours * 3600, abs=60)


@pytest.mark.parametrize("given", ["0h", "99999w", "-1d", "1.5h", "9" * 40 + "w", "1y", ""])
def test_a_command_refuses_what_is_no_time_from_now(
    secured_app: SecuredApp, invoke: Callable[..., Result], given: str
) -> None:
    found = invoke("--name", "a program", "--expires-in", given)
    assert found.exit_code == 2
    assert "is not a duration" in found.output
    assert secured_app.admin.get("/tokens").json == []


def test_a_datetime_of_our_own_code_reaches_postgres_in_utc(app: Flask) -> None:
    """PostgreSQL takes no offset of 16 hours or more, so that none may get there."""
    with app.app_context():
        found = services().database.execute(
            "SELECT (%(time)s::timestamptz)::text", {"time": datetime(9999, 12, 31, tzinfo=UTC)}
        )
    assert found.fetchall() == [("9999-12-31 00:00:00+00",)]
