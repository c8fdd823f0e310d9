"""No list request scans the table, and each reads a bounded number of rows."""

# ruff: noqa: S608 - statements are made of constants

import itertools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.db.database import Database
from app.http.services import services_of
from app.models import SORT_KEYS
from app.search import bounds, cursors
from app.search.cursors import Keyset
from app.search.planner import PlannerStats
from app.search.text import Term
from embedded import Stack
from tests.support.api_client import SORTS, ApiClient, links
from tests.support.seeded_database import seeded_database

COUNT = 100_000
SHRINK = 20
"""The bounds of app.search.bounds are made so much smaller, so that 100,000 users overstep them like 2,000,000."""

QUERIES = [
    "",
    "a",
    "maria",
    "mar smith",
    "ng",
    "王",
    "王伟",
    "zzzz",
    "test user",
    "example",
    "иван",
    "u9",
    "maria zzzz",
]
FILTERS: list[dict[str, str]] = [
    {},
    {"role": "member"},
    {"role": "admin"},
    {"active": "true"},
    {"active": "false"},
    {"attributes.plan": "free"},
    {"attributes.n": "77"},
    {"attributes.legacy": "true"},
    {"attributes.cohort": "9"},
    {"attributes.none": "x"},
    {"created_after": "2026-10-25T00:00:00Z"},
    {"created_before": "2026-08-25T00:00:00Z"},
    {"created_after": "2026-09-20T00:00:00Z", "created_before": "2026-09-20T06:00:00Z"},
    {"role": "admin", "active": "false", "attributes.plan": "team"},
    {"role": "member", "active": "true", "attributes.legacy": "true", "created_after": "2026-10-25T00:00:00Z"},
    {"email": "nobody@example.com"},
    {"username": "test77"},
    {"username": "test77", "role": "admin"},
]
DEPTHS = [None, 0.5, 0.98]


@pytest.fixture(scope="module")
def seeded_url(servers: Stack) -> Iterator[str]:
    with seeded_database(COUNT, servers.postgres.url) as url:
        yield url


@pytest.fixture(scope="module")
def seeded_app(make_app: Callable[..., Flask], seeded_url: str) -> Flask:
    return make_app(database_url=seeded_url, cache_ttl_s=0)


@pytest.fixture(scope="module")
def explainer(seeded_app: Flask) -> Iterator[psycopg.Connection[Any]]:
    """A connection with the session settings of the service, so its plans are those of the service."""
    with services_of(seeded_app).database.connection() as connection:
        yield connection.connection.driver_connection


@pytest.fixture
def smaller_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_ROWS_WITHOUT_PROBE", "MAX_ESTIMATED_ROWS", "MAX_SORTED_ROWS"):
        monkeypatch.setattr(bounds, name, getattr(bounds, name) // SHRINK)
    scanned = {sort: rows // SHRINK for sort, rows in bounds.MAX_SCANNED_ROWS.items()}
    monkeypatch.setattr(bounds, "MAX_SCANNED_ROWS", scanned)


def grid(number: int) -> list[dict[str, str]]:
    """`number` combinations from a fixed seed, with each value at least once."""
    whole = list(itertools.product(QUERIES, FILTERS, SORTS, DEPTHS, ["false", "true"]))
    chosen = random.Random(5).sample(whole, number)  # noqa: S311 - the same sample each time
    chosen += [(q, filters, "name", None, "false") for q in QUERIES for filters in FILTERS]
    return [
        {"q": q, **filters, "sort": sort, "deleted": deleted, **({"depth": str(depth)} if depth else {})}
        for q, filters, sort, depth, deleted in chosen
    ]


class Planner:
    """Asks for lists and tells which statements that took."""

    def __init__(self, app: Flask, connection: psycopg.Connection[Any]) -> None:
        self.client, self._connection = ApiClient(app), connection
        self._kept: dict[tuple[str, str, str], str] = {}
        self.prepared: set[str] = set()

    def statements(self, query: dict[str, str]) -> list[tuple[str, Any]]:
        """The SELECTs that listing issues for this query, with their parameters."""
        asked = dict(query)
        if depth := asked.pop("depth", None):
            asked["cursor"] = self._cursor(asked["sort"], asked["deleted"], depth)
        issued: list[tuple[str, Any]] = []
        ask = Database.execute

        def noting(database: Database, sql: str, parameters: Any, *, prepare: bool = True, **options: Any) -> Any:
            if "FROM users" in sql and not sql.startswith("EXPLAIN"):
                if prepare:
                    self.prepared.add(sql)
                issued.append((sql, parameters))
            return ask(database, sql, parameters, prepare=prepare, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Database, "execute", noting)
            response = self.client.get("/users", query_string=asked, headers={"Prefer": "count=estimated"})
        assert response.status_code == 200, response.text
        assert issued
        return issued

    def generic_plan(self, statement: str) -> list[dict[str, Any]]:
        """All nodes of the plan for any values, which a prepared statement gets after a few times."""
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
        numbered = statement % {name: f"${number}" for number, name in enumerate(names, 1)}
        text = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered}"
        (plan,) = self._connection.execute(text.encode()).fetchone()
        return list(_nodes(plan[0]["Plan"]))

    def plan(self, statement: str, parameters: Any, *, analyze: bool) -> list[dict[str, Any]]:
        """All nodes of the plan of a statement."""
        options = "ANALYZE, TIMING OFF, FORMAT JSON" if analyze else "FORMAT JSON"
        text = f"EXPLAIN ({options}) {statement}"
        (plan,) = self._connection.execute(text.encode(), parameters).fetchone()
        return list(_nodes(plan[0]["Plan"]))

    def _cursor(self, sort: str, deleted: str, depth: str) -> str:
        """A cursor that so large a share of all users lies before."""
        if (sort, deleted, depth) not in self._kept:
            field, descending = sort.removeprefix("-"), sort.startswith("-")
            key = SORT_KEYS[field]
            shown = f"to_char({key}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USOF')" if field.endswith("_at") else key
            half = "IS NOT NULL" if deleted == "true" else "IS NULL"
            direction = "DESC" if descending else "ASC"
            (count,) = self._connection.execute(
                f"SELECT count(*) FROM users WHERE deleted_at {half}".encode()
            ).fetchone()
            found = self._connection.execute(
                f"SELECT {shown}, id FROM users WHERE deleted_at {half}"
                f" ORDER BY {key} {direction}, id {direction} OFFSET {int(count * float(depth))} LIMIT 1".encode()
            ).fetchone()
            kind = f"users:{sort}:{'trash' if deleted == 'true' else 'live'}"
            self._kept[sort, deleted, depth] = cursors.encode(kind, Keyset(found[0], str(found[1])))
        return self._kept[sort, deleted, depth]


@pytest.fixture
def planner(seeded_app: Flask, explainer: psycopg.Connection[Any]) -> Planner:
    return Planner(seeded_app, explainer)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def rows_read(nodes: list[dict[str, Any]]) -> float:
    """Rows of users that were looked at, kept or not."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
        * node["Actual Loops"]
        for node in nodes
        if node.get("Relation Name") == "users"
    )


def test_the_seeded_users_are_many_and_of_every_kind(seeded_url: str) -> None:
    with psycopg.connect(seeded_url) as connection:
        (count,) = connection.execute("SELECT count(*) FROM users").fetchone()
        assert count >= COUNT
        (trash,) = connection.execute("SELECT count(*) FROM users WHERE deleted_at IS NOT NULL").fetchone()
        assert trash > COUNT // 100


@pytest.mark.parametrize(
    ("after", "before"),
    [
        (None, None),
        (datetime(2026, 10, 25, tzinfo=UTC), None),
        (None, datetime(2026, 8, 25, tzinfo=UTC)),
        (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 4, tzinfo=UTC)),
        (datetime(2027, 1, 1, tzinfo=UTC), None),
    ],
)
def test_how_many_were_created_in_a_time_is_known_without_counting(
    seeded_app: Flask, explainer: psycopg.Connection[Any], after: datetime | None, before: datetime | None
) -> None:
    (counted,) = explainer.execute(
        "SELECT count(*) FROM users WHERE created_at > coalesce(%s, '-infinity'::timestamptz)"
        " AND created_at < coalesce(%s, 'infinity'::timestamptz)",
        [after, before],
    ).fetchone()
    known = PlannerStats(services_of(seeded_app).database).snapshot()
    assert known.created_share(after, before) * COUNT == pytest.approx(counted, abs=COUNT / 100)


def test_a_word_that_is_not_among_the_common_is_taken_to_be_rare_in_a_table_of_any_size(
    seeded_app: Flask,
) -> None:
    known = replace(PlannerStats(services_of(seeded_app).database).snapshot(), total=1_000 * COUNT)
    assert known.rows(Term("zzzz", is_prefix=True)) <= bounds.MAX_ROWS_WITHOUT_PROBE
    assert known.rows(Term("maria")) > bounds.MAX_ESTIMATED_ROWS


def test_no_list_request_scans_the_table(planner: Planner) -> None:
    """Nor sorts all of it, nor reads a whole index of it: what is not bounded by a condition is by a LIMIT."""
    for query in grid(500):
        for statement, parameters in planner.statements(query):
            nodes = planner.plan(statement, parameters, analyze=False)
            scans = [node["Node Type"] for node in nodes if node.get("Relation Name") == "users"]
            assert scans, statement
            assert "Seq Scan" not in scans, (query, statement)


def test_a_prepared_statement_looks_up_or_walks_in_order_whatever_the_values_are(planner: Planner) -> None:
    """Otherwise PostgreSQL could use for all values the plan that fits some."""
    for query in grid(300):
        planner.statements(query)
    assert len(planner.prepared) > 20
    for statement in planner.prepared:
        nodes = planner.generic_plan(statement)
        indexes = [node for node in nodes if "Index Name" in node]
        assert "Seq Scan" not in [node["Node Type"] for node in nodes if node.get("Relation Name") == "users"]
        if statement.startswith("WITH hits"):
            assert all("Index Cond" in node for node in indexes), statement
            continue
        # A walk, maybe to be seen again where it stopped, and then the users of the page by their ids.
        walked = [node["Index Name"] for node in indexes if node["Index Name"] != "users_pkey"]
        assert len(set(walked)) == 1, statement
        assert len(walked) == (2 if statement.startswith("WITH page") else 1), statement
        above = [node["Node Type"] for node in nodes for child in node.get("Plans", []) if child in indexes]
        assert set(above) <= {"Limit", "Result", "Nested Loop"}, statement


@pytest.mark.usefixtures("smaller_bounds")
def test_no_list_request_scans_the_table_when_the_bounds_are_overstepped(planner: Planner) -> None:
    for query in grid(300):
        for statement, parameters in planner.statements(query):
            nodes = planner.plan(statement, parameters, analyze=False)
            assert "Seq Scan" not in [node["Node Type"] for node in nodes], (query, statement)


@pytest.mark.usefixtures("smaller_bounds")
def test_no_statement_reads_more_rows_than_is_written_down(planner: Planner) -> None:
    """Each stops at MAX_SORTED_ROWS matches or at MAX_SCANNED_ROWS rows in order, and then fetches one page.

    Twice as much is allowed, as of a condition that the index does not serve only the rows that fit are counted.
    """
    page = 51
    worst, most = 0.0, ()
    for query in grid(150):
        bound = 2 * (max(bounds.MAX_SORTED_ROWS + 1, bounds.MAX_SCANNED_ROWS[query["sort"].removeprefix("-")]) + page)
        for statement, parameters in planner.statements(query):
            read = rows_read(planner.plan(statement, parameters, analyze=True))
            if read / bound > worst:
                worst, most = read / bound, (read, bound, query, statement)
    assert worst <= 1, most


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
def test_a_page_of_one_role_above_member_reads_no_more_rows_than_it_shows(
    planner: Planner, sort: str, role: str
) -> None:
    statements = planner.statements({"role": role, "sort": sort})
    assert len(statements) == 1
    assert rows_read(planner.plan(*statements[0], analyze=True)) <= 51


@pytest.mark.usefixtures("smaller_bounds")
@pytest.mark.parametrize(
    ("sort", "query"),
    [
        ("name", {"q": "maria", "active": "true"}),
        ("-updated_at", {"attributes.cohort": "9"}),
        ("created_at", {"attributes.cohort": "9"}),
        ("-email", {"role": "editor"}),
        ("created_at", {"q": "王", "attributes.legacy": "true"}),
        ("name", {"role": "member", "created_after": "2026-10-31T00:00:00Z"}),
        ("-name", {"q": "a", "deleted": "true"}),
    ],
)
def test_short_pages_still_lead_to_all_users(
    planner: Planner, explainer: psycopg.Connection[Any], sort: str, query: dict[str, str]
) -> None:
    """Pages that end where a walk ended, also empty ones: together they hold exactly those who fit, in order."""
    asked = {**query, "sort": sort, "limit": "200"}
    walked = [user["id"] for page in planner.client.pages(**asked) for user in page]
    field = sort.removeprefix("-")
    direction = "DESC" if sort.startswith("-") else "ASC"
    condition, values = _condition(query)
    order = f"ORDER BY {SORT_KEYS[field]} {direction}, id {direction}"
    rows = explainer.execute(f"SELECT id FROM users WHERE {condition} {order}".encode(), values).fetchall()
    assert walked == [str(row_id) for (row_id,) in rows]
    assert len(walked) > 20
    last = planner.client.last_page(**asked)
    backwards = planner.client.walk("prev", start=links(last)["prev"]) if "prev" in links(last) else []
    assert [user["id"] for user in backwards + last.json] == walked


def _condition(query: dict[str, str]) -> tuple[str, list[str]]:
    """The same question in plain SQL, without the words."""
    parts, values = [f"deleted_at IS {'NOT ' if query.get('deleted') else ''}NULL"], []
    sql = {
        "role": "role = %s",
        "active": "active = %s::boolean",
        "created_after": "created_at > %s::timestamptz",
        "q": "EXISTS (SELECT FROM unnest(search_vector) AS w WHERE w.lexeme ^@ %s)",
    }
    for name, value in query.items():
        if name == "deleted":
            continue
        parts.append(sql.get(name) or f"attributes->>'{name.removeprefix('attributes.')}' = %s")
        values.append(value)
    return " AND ".join(parts), values
