"""Pages of users: any search, filter and sort in bounded time, whatever the size of the table.

The planner statistics of PostgreSQL choose between the three ways of `query_builder`. Estimates may be wrong by any
factor, and a wrong plan without a bound reads the whole table, so each way has a bound (`bounds`). If a scan reaches
its bound, the page ends there, and its `next_cursor` continues after the last row of the scan. Such a page may be short
or empty.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple

import orjson

from app.cache.redis_answers import RedisAnswers
from app.db.database import Database
from app.schemas import ListQuery
from app.search import bounds, cursors, query_builder
from app.search.cursors import Keyset
from app.search.planner import PlannerStats, fills_a_page, plan_lookup
from app.search.query_builder import UserQuery

PAGE_PARAMETERS = {"limit", "cursor", "sort"}
"""Parameters that are no filters. The number of users in a list does not depend on them."""


@dataclass(frozen=True, slots=True)
class Page:
    """A JSON array of users or history entries, and the cursors of the pages around it, if there are such pages."""

    body: bytes
    next_cursor: str | None
    previous_cursor: str | None = None


class Count(NamedTuple):
    """A number of users, counted or estimated."""

    number: int
    is_exact: bool = True


class _Row(NamedTuple):
    """A row of a page. `id` is None if it has no user; then a scan ended at the row `stop_id`, `stop_key`."""

    id: uuid.UUID | None
    body: str
    sort_key: str
    stop_id: uuid.UUID | None = None
    stop_key: str = ""


class UserPages:
    """Reads pages of users, and counts the users of a list."""

    def __init__(self, database: Database, answers: RedisAnswers, planner_stats: PlannerStats) -> None:
        self._database, self._answers, self._planner_stats = database, answers, planner_stats

    def page(self, list_query: ListQuery) -> Page:
        """One page, from the cache unless PostgreSQL is as fast. Raises: BadRequest (the cursor), Unavailable"""
        query = UserQuery(list_query)
        if self._is_cheap(query):
            return self._read_page(query)

        def compute() -> bytes:
            page = self._read_page(query)
            return orjson.dumps([page.next_cursor, page.previous_cursor]) + b"\n" + page.body

        page_cursors, _, body = self._answers.get_or_compute(f"page:{digest(list_query)}", compute).partition(b"\n")
        return Page(body, *orjson.loads(page_cursors))

    def count(self, list_query: ListQuery, limit: int | None = None) -> int:
        """The number of users in the whole list, counted up to `limit` + 1. Raises: Unavailable"""

        def compute() -> bytes:
            query = UserQuery(list_query)
            found = self._database.execute(query_builder.count(query, limit), query.parameters, prepare=False)
            return str(found.fetchall()[0][0]).encode()

        key = f"count:{digest(list_query, ignored=PAGE_PARAMETERS)}:{limit}"
        return int(self._answers.get_or_compute(key, compute))

    def estimate(self, list_query: ListQuery) -> int:
        """The number of users that the planner of PostgreSQL expects in the whole list. Raises: Unavailable"""
        query = UserQuery(list_query)
        found = self._database.execute(query_builder.estimate(query), query.parameters, prepare=False)
        plan = found.fetchall()[0][0]
        return int(plan[0]["Plan"]["Plan Rows"])

    def count_or_estimate(self, list_query: ListQuery, limit: int = bounds.MAX_COUNTED_ROWS) -> Count:
        """The number of users in the whole list.

        Nothing is counted if the estimate is above `limit`. Raises: Unavailable
        """
        estimate = self.estimate(list_query)
        return Count(estimate, is_exact=False) if estimate > limit else self.count_up_to(list_query, limit)

    def count_up_to(self, list_query: ListQuery, limit: int) -> Count:
        """The number of users in the whole list, which is exact up to `limit`.

        At most `limit` + 1 users are counted. Raises: Unavailable
        """
        counted = self.count(list_query, limit)
        if counted <= limit:
            return Count(counted)
        return Count(max(self.estimate(list_query), counted), is_exact=False)

    def _is_cheap(self, query: UserQuery) -> bool:
        """Whether PostgreSQL answers as fast as Redis: one index serves all conditions, or few users have each term."""
        if not query.is_filtered or query.key_conditions:
            return True
        statistics = self._planner_stats.snapshot()
        return bool(statistics.total and query.terms) and all(
            statistics.rows(term) <= bounds.MAX_UNCACHED_ROWS for term in query.terms
        )

    def _read_page(self, query: UserQuery) -> Page:
        rows, stopped_at = self._find(query)
        has_more = len(rows) > query.limit
        rows = rows[: query.limit]
        if query.backwards:
            rows.reverse()
        body = ",".join([row.body for row in rows])
        return Page(f"[{body}]".encode(), *_cursors(query, rows, has_more=has_more, stopped_at=stopped_at))

    def _find(self, query: UserQuery) -> tuple[list[_Row], Keyset | None]:
        """Up to `limit` + 1 rows, and where a scan reached its bound (None: it did not)."""
        if not query.is_filtered:
            return self._rows(query_builder.in_order(query), query.parameters), None
        statistics = self._planner_stats.snapshot()
        lookup = plan_lookup(query, statistics)
        max_rows = bounds.MAX_SCANNED_ROWS[query.sort]
        if lookup.expected_rows > bounds.MAX_ESTIMATED_ROWS:
            return self._scan(query, max_rows)
        if lookup.expected_rows > bounds.MAX_ROWS_WITHOUT_PROBE and fills_a_page(query, statistics, lookup):
            # Statistics do not tell whether matches are near the cursor.
            rows, stopped_at = self._scan(query, max_rows // bounds.PROBE_DIVISOR)
            if stopped_at is None:
                return rows, None
            if len(rows) * bounds.PROBE_DIVISOR >= query.limit:
                return self._scan(query, max_rows)
        # One index alone serves the unique key of an active user, and lexemes.
        is_prepared = not (query.created_range or query.deleted)
        rows = self._rows(query_builder.by_lookup(query, lookup.conditions), lookup.parameters, is_prepared=is_prepared)
        if not rows:
            return self._scan(query, max_rows)
        return rows if rows[0].id else [], None

    def _scan(self, query: UserQuery, max_rows: int) -> tuple[list[_Row], Keyset | None]:
        """The matches among the next `max_rows`, and where the scan ended before the page was full."""
        rows = self._rows(query_builder.by_scan(query, max_rows), query.parameters)
        stops = [Keyset(row.stop_key, str(row.stop_id), query.backwards) for row in rows if not row.id]
        return [row for row in rows if row.id], stops[0] if stops else None

    def _rows(self, sql: str, parameters: Mapping[str, Any], *, is_prepared: bool = True) -> list[_Row]:
        """Execute a statement of `query_builder`.

        is_prepared: PostgreSQL plans it once, because one plan is right for any values. For other statements,
        one plan took 2.4 s instead of 0.9 ms.
        """
        sql = query_builder.hide_values(sql) if is_prepared else sql
        found = self._database.execute(sql, parameters, prepare=is_prepared, timeout_s=bounds.STATEMENT_TIMEOUT_S)
        return list(starmap(_Row, found.fetchall()))


def digest(query: ListQuery, *, ignored: set[str] | None = None) -> str:
    """A digest of a query without the `ignored` parameters, for the key of an answer."""
    parameters = orjson.dumps(query.model_dump(exclude=ignored), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(parameters, digest_size=16).hexdigest()


def _cursors(
    query: UserQuery, rows: list[_Row], *, has_more: bool, stopped_at: Keyset | None
) -> tuple[str | None, str | None]:
    """The cursors of the next page and of the previous one. rows: in the order of the page."""
    first = Keyset(rows[0].sort_key, str(rows[0].id), backwards=True) if rows else None
    last = Keyset(rows[-1].sort_key, str(rows[-1].id)) if rows else None
    start = query.keyset
    if query.backwards:
        following = last or (Keyset(start.key, start.id, inclusive=True) if start else None)
        preceding = first if has_more else stopped_at
    else:
        following = last if has_more else stopped_at
        preceding = (first or Keyset(start.key, start.id, backwards=True, inclusive=True)) if start else None
    return (
        cursors.encode(query.cursor_kind, following) if following else None,
        cursors.encode(query.cursor_kind, preceding) if preceding else None,
    )
