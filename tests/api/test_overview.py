"""The dashboard reads a bounded number of rows for tables of any size."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from app.db.database import Database
from app.http.services import services_of
from app.schemas import ListQuery
from app.search import text as search_text
from app.users import bulk, dashboard
from tests.support.console_client import SAME_ORIGIN
from tests.support.engines import engine_of
from tests.support.leases import grant_lease

MANY, INACTIVE, TRASHED = 24_000, 6_000, 40
_FIGURE = re.compile(r"<dt>\w[^<]*</dt><dd>(?:<a[^>]*>)?([^<]+)")


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """A new application, which has read no planner statistics yet."""
    made = make_app()
    grant_lease(made)
    return made


def fill(database: psycopg.Connection[Any], count: int = MANY) -> None:
    """Insert many users of the last days. A quarter are inactive, some are deleted."""
    marks = [
        search_text.field_tag("active", value=True),
        search_text.field_tag("active", value=False),
        search_text.DELETED_TAG,
    ]
    database.execute(
        "INSERT INTO users"
        " (id, username, username_key, name, name_key, role, active, created_at, deleted_at, search_vector)"
        " SELECT gen_random_uuid(), 'u' || n, 'u' || n, 'U', 'u', 'member', n > %(inactive)s,"
        " now() - n %% 20 * interval '1 day', CASE WHEN n > %(living)s THEN now() END,"
        " array_to_tsvector(ARRAY['u', CASE WHEN n > %(inactive)s THEN %(on)s ELSE %(off)s END]"
        " || CASE WHEN n > %(living)s THEN ARRAY[%(trash)s] ELSE '{}' END) FROM generate_series(1, %(count)s) AS n",
        {
            "inactive": count * INACTIVE // MANY,
            "living": count - TRASHED,
            "count": count,
            **dict(zip(("on", "off", "trash"), marks, strict=True)),
        },
    )


@pytest.fixture
def browser_of_many(admin: FlaskClient, database: psycopg.Connection[Any]) -> FlaskClient:
    """A browser of an administrator, with more users than the dashboard counts."""
    fill(database)
    database.execute("ANALYZE users")
    return admin


@contextmanager
def rows_read(app: Flask) -> Iterator[list[float]]:
    """How many rows of the table, or of an index of it, each statement in the block reads."""
    sent: list[tuple[str, Any]] = []
    read: list[float] = []
    engine, execute = engine_of(app), Database.execute

    def note(*args: Any) -> None:
        sent.append((args[2], args[3]))

    def noting(database: Database, sql: str, parameters: Any, **options: Any) -> Any:
        sent.append((sql, parameters))
        return execute(database, sql, parameters, **options)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "execute", noting)
            yield read
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        for statement, parameters in sent:
            if statement.startswith("SET LOCAL"):
                connection.exec_driver_sql(statement)
            elif " users" in statement and not statement.startswith("EXPLAIN"):
                asked = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                plan = connection.exec_driver_sql(asked, parameters).scalar_one()
                read.append(_scanned(plan[0]["Plan"]))


def _scanned(node: dict[str, Any]) -> float:
    own = node["Actual Rows"] * node["Actual Loops"] if node.get("Relation Name") == "users" else 0
    return max(own, sum(_scanned(below) for below in node.get("Plans", [])))


def figures(browser: FlaskClient, language: str = "en") -> dict[str, str]:
    page = browser.get("/overview", headers={"Accept-Language": language})
    assert page.status_code == 200
    return dict(zip(("all", "inactive", "trash", "sessions"), _FIGURE.findall(page.text), strict=True))


def number(text: str) -> int:
    return int("".join(filter(str.isdigit, text)))


def test_counts_of_many_users_are_marked_as_estimates(browser_of_many: FlaskClient) -> None:
    found = figures(browser_of_many)
    assert found["trash"] == "40"
    for label, count in (("all", MANY + 1 - TRASHED), ("inactive", INACTIVE)):
        assert found[label].startswith("~"), found
        assert number(found[label]) == pytest.approx(count, rel=0.15)
    page = browser_of_many.get("/overview").text
    (made,) = re.findall(r"(~[\d,]+) new \w+ in 30 days", page)
    assert number(made) == pytest.approx(MANY, rel=0.15)
    bars = re.findall(r"</rect>|: (~[\d,]+)</title>", page)
    assert len([bar for bar in bars if number(bar or "0") > 500]) == pytest.approx(20, abs=2)


def test_estimates_are_marked_in_french_too(browser_of_many: FlaskClient) -> None:
    page = browser_of_many.get("/overview", headers={"Accept-Language": "fr"}).text
    assert re.search(r"<dd><a[^>]*>~2\d[\s\u202f\xa0]\d{3}</a>", page), page


def test_after_a_write_no_statement_counts_more_than_a_few_thousand_rows(
    app: Flask, browser_of_many: FlaskClient
) -> None:
    figures(browser_of_many)
    for _ in range(2):
        assert browser_of_many.post("/api/users", json={"username": f"new-{_}"}, headers=SAME_ORIGIN).status_code == 201
        with rows_read(app) as read:
            figures(browser_of_many)
        assert read, "it was kept"
        assert max(read) <= dashboard.MAX_COUNTED + 1


def test_outdated_statistics_do_not_cause_a_full_count(
    app: Flask, admin: FlaskClient, database: psycopg.Connection[Any]
) -> None:
    """As after an import, until PostgreSQL looks."""
    database.execute("ANALYZE users")
    fill(database)
    with rows_read(app) as read:
        found = figures(admin)
    assert max(read) <= dashboard.MAX_COUNTED + 1
    assert found["all"].startswith("~")
    assert found["trash"] == str(TRASHED)
    with app.app_context(), rows_read(app) as read:
        assert services_of(app).user_pages.count_or_estimate(ListQuery(active=True, q="u"), 100)[1] is False
    assert max(read, default=0) <= 101


def test_counts_are_exact_up_to_the_bound(
    app: Flask, admin: FlaskClient, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 400)
    database.execute("ANALYZE users")
    expected = {"all": "361", "inactive": "100", "trash": "40"}
    assert figures(admin).items() >= expected.items()
    monkeypatch.setattr(dashboard, "MAX_COUNTED", 361)
    assert admin.post("/api/users", json={"username": "one-more"}, headers=SAME_ORIGIN).status_code == 201
    found = figures(admin)
    assert found["all"].startswith("~")
    assert number(found["all"]) >= 362
    assert found["inactive"] == "100"
    with app.app_context():
        assert services_of(app).user_pages.count(ListQuery()) == 362, "who asks for an exact count gets one"


def test_a_bulk_action_on_too_many_counts_no_further_than_it_may_go(
    app: Flask, browser_of_many: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm: Callable[[], Any] = lambda: browser_of_many.post(  # noqa: E731 - the same request twice
        "/people/bulk", data={"action": "deactivate", "all": "1", "query": "q=u"}, headers=SAME_ORIGIN
    )
    monkeypatch.setattr(bulk, "MAX_USERS", 1_000)
    with rows_read(app) as read:
        page = confirm()
    assert page.status_code == 200
    assert max(read) <= 1_001
    assert re.search(r"Deactivate ~[\d,]+ users\?", page.text)
    assert "At most 1,000 users can be changed at once" in page.text
    monkeypatch.setattr(bulk, "MAX_USERS", 100_000)
    assert f"Deactivate {MANY - TRASHED:,} users?" in confirm().text


def test_the_figures_are_the_same_as_those_of_exact_counts(app: Flask, browser_of_many: FlaskClient) -> None:
    response = browser_of_many.get("/api/users?deleted=true&limit=200", headers={"Prefer": "count=exact"})
    assert int(response.headers["X-Total-Count"]) == len(orjson.loads(response.data)) == TRASHED
    assert services_of(app).dashboard.figures().trashed == (TRASHED, True)
