"""The PostgreSQL errors that open the circuit breaker, and the status of each error."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from sqlalchemy import text

from app.db.error_translation import ConstraintViolation
from app.errors import BadRequest, DomainError, Unavailable
from app.http.services import services, services_of
from embedded import Stack
from tests.support.waiting import wait_until

LOST = ["08000", "08001", "08003", "08004", "08006", "08007", "57P01", "57P02", "57P03"]
BAD_DATA = ["22000", "22001", "22003", "22007", "22008", "22009", "22P02", "22P05", "54000", "54001", "54011", "54023"]
BUSY = ["08P01", "25006", "40001", "40P01", "53000", "53100", "53200", "53300", "53400", "55P03", "57014", "57P05"]
OURS = ["42601", "42883", "0A000"]
"""Mistakes of ours, and no news of the connection."""
STATEMENTS = {
    "a number too large": ("SELECT %(value)s::integer", "99999999999"),
    "no number": ("SELECT %(value)s::integer", "x"),
    "no date": ("SELECT %(value)s::timestamptz", "2026-02-30"),
    "an offset too large": ("SELECT %(value)s::timestamptz", "2026-01-01T00:00:00+16:00"),
    "no JSON": ("SELECT %(value)s::json", "{"),
    "no UUID": ("SELECT %(value)s::uuid", "x"),
    "a division by zero": ("SELECT 1 / %(value)s::integer", "0"),
    "a stack too deep": ("SELECT %(value)s::json", "[" * 200_000),
}


@pytest.fixture(scope="module")
def own_app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(log_level="error")


def raised(sqlstate: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION SQLSTATE '{sqlstate}'; END $$"


def failure(app: Flask, sql: str, value: str = "", way: str = "prepared") -> BaseException:
    """What a statement raises."""
    with app.app_context(), pytest.raises(Exception) as caught:  # noqa: PT011, PT012 - it is looked at by the tests
        database = services().database
        if way == "prepared":
            database.execute(sql, {"value": value})
        with (database.connection if way == "connection" else database.transaction)() as connection:
            connection.execute(text(sql))
    return caught.value


def is_up(app: Flask) -> bool:
    return services_of(app).database.breaker.up


def works(app: Flask) -> bool:
    with services_of(app).database.connection() as connection:
        return connection.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("way", ["prepared", "connection", "transaction"])
@pytest.mark.parametrize("sqlstate", LOST)
def test_a_lost_connection_opens_the_breaker(
    own_app: Flask, monkeypatch: pytest.MonkeyPatch, sqlstate: str, way: str
) -> None:
    opened: list[BaseException] = []
    monkeypatch.setattr(services_of(own_app).database.breaker, "failed", opened.append)
    assert isinstance(failure(own_app, raised(sqlstate), way=way), Unavailable)
    assert len(opened) == 1


@pytest.mark.parametrize("way", ["prepared", "connection", "transaction"])
@pytest.mark.parametrize("sqlstate", [*BAD_DATA, *BUSY, *OURS, "23502", "23503", "23505", "23514"])
def test_an_error_of_one_request_does_not_open_the_breaker(
    own_app: Flask, monkeypatch: pytest.MonkeyPatch, sqlstate: str, way: str
) -> None:
    opened: list[BaseException] = []
    monkeypatch.setattr(services_of(own_app).database.breaker, "failed", opened.append)
    error = failure(own_app, raised(sqlstate), way=way)
    assert opened == []
    if sqlstate in BAD_DATA:
        assert isinstance(error, BadRequest)
    elif sqlstate.startswith("23"):
        assert isinstance(error, ConstraintViolation)
    elif sqlstate in OURS:
        assert not isinstance(error, DomainError)
    else:
        assert not isinstance(error, psycopg.Error)
    assert works(own_app)


@pytest.mark.parametrize(("sql", "value"), STATEMENTS.values(), ids=STATEMENTS)
def test_a_value_that_postgres_refuses_is_a_client_error(own_app: Flask, sql: str, value: str) -> None:
    error = failure(own_app, sql, value)
    assert isinstance(error, BadRequest)
    assert "range" in str(error)
    assert is_up(own_app)
    assert works(own_app)


@pytest.mark.parametrize("sql", ["SELECT 'infinity'::timestamptz", "SELECT '20000-01-01'::timestamptz"])
def test_a_value_that_psycopg_refuses_is_no_lost_connection(own_app: Flask, sql: str) -> None:
    """It has no SQLSTATE, as what libpq says of a connection has none."""
    with pytest.raises(BadRequest), services_of(own_app).database.connection() as connection:
        connection.execute(text(sql)).all()
    assert is_up(own_app)
    assert works(own_app)


def test_a_server_that_can_not_be_reached_opens_the_breaker(
    make_app: Callable[..., Flask], servers: Stack, tmp_path: Path
) -> None:
    nowhere = servers.postgres.url.rpartition("/")[0] + f"/usersdb?host={tmp_path}"
    app = make_app(database_url=nowhere, log_level="error")
    assert isinstance(failure(app, "SELECT 1"), Unavailable)
    assert not is_up(app)


def test_a_connection_that_postgres_ended_opens_the_breaker_until_it_is_replaced(own_app: Flask) -> None:
    error = failure(own_app, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert isinstance(error, Unavailable)
    wait_until(lambda: is_up(own_app))
    assert works(own_app)
