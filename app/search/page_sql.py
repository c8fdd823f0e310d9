"""SQL of pages and counts.

A page is read in one of three ways. Each uses an index and reads a bounded number of rows:

- `in_order`: the sort index serves all conditions.
- `by_lookup`: other indexes return all matches, which are then sorted. Cheap if few rows match.
- `by_scan`: the sort index is scanned from the cursor on, and rows that do not match are dropped. Cheap if many match.

The columns of a page are: id, JSON, sort key, and those that the function names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.models import user_json
from app.search import bounds
from app.search.lookup import Lookup
from app.search.query_builder import UserQuery
from app.types import MAX_PAGE_SIZE


@dataclass(frozen=True, slots=True)
class PageStatement:
    """SQL with %(name)s for its parameters.

    is_prepared: PostgreSQL plans it once, because one plan is right for any values. Otherwise it is planned for each
    set of values.
    """

    sql: str
    parameters: Mapping[str, Any]
    is_prepared: bool


def in_order(query: UserQuery) -> PageStatement:
    """The rows after the cursor. The sort index serves every condition."""
    column = query.sort_column
    where = query.where([*query.index_conditions, *query.keyset_conditions(column)])
    rows = f"SELECT {_columns(query, column)} FROM users AS u WHERE {where} {query.order_by(column)}"
    return PageStatement(_limited(rows), query.parameters, is_prepared=True)


def by_lookup(query: UserQuery, lookup: Lookup) -> PageStatement:
    """The first of all sorted matches, and the number of matches, which ends at MAX_SORTED_ROWS + 1.

    A row without an id has the number if the page is empty.
    """
    # LIMIT is a subquery, so that the planner does not see its value: it would choose to scan another index, on which
    # it expects to find so many rows early. It must not use a partial index of the partition either.
    where = query.where(lookup.conditions, hide_partition=query.uses_only_lexemes)
    after_cursor = " AND ".join(["true", *query.keyset_conditions("key")])
    page = _limited(f"SELECT id, key FROM hits WHERE {after_cursor} {query.order_by('key')}")
    sql = (
        f"WITH hits AS MATERIALIZED (SELECT id, {query.sort_column} AS key FROM users"
        f" WHERE {where} LIMIT (SELECT {bounds.MAX_SORTED_ROWS + 1})),"
        f" page AS ({page})"
        f" SELECT {_columns(query, 'page.key')}, total.hits"
        f" FROM (SELECT count(*) AS hits FROM hits) AS total"
        f" LEFT JOIN (page JOIN users AS u ON u.id = page.id) ON true {query.order_by('page.key', 'u.id')}"
    )
    # One index alone serves the unique key of an active user, and lexemes.
    return PageStatement(sql, lookup.parameters, is_prepared=not (query.created_range or query.deleted))


def by_scan(query: UserQuery, max_rows: int) -> PageStatement:
    """The matches among the next `max_rows` of the sort index, and the id and sort key of the last row.

    A row without an id of its own has the last row; there is none if the scan filled the page or reached the end. It
    is one statement, so that no write comes between. PostgreSQL reads only as many rows as the page needs. To read the
    last row from the index again is cheaper than to materialize the scan.
    """
    column = query.sort_column
    where = query.where([*query.index_conditions, *query.keyset_conditions(column)])
    order = query.order_by(column)
    scanned = (
        f"SELECT id, {column} AS key, {' AND '.join(query.conditions)} AS fits"
        f" FROM users WHERE {where} {order} LIMIT {max_rows}"
    )
    sql = (
        f"WITH page AS MATERIALIZED ({_limited(f'SELECT id, key FROM ({scanned}) AS scanned WHERE fits')}),"
        f" stop AS (SELECT id, {column} AS key FROM users"
        f" WHERE {where} AND (SELECT count(*) FROM page) < %(row_limit)s {order} OFFSET {max_rows - 1} LIMIT 1)"
        f" SELECT {_columns(query, 'page.key')}, stop.id, {_cursor_text(query, 'stop.key')}"
        f" FROM stop FULL JOIN (page JOIN users AS u ON u.id = page.id) ON false"
        f" {query.order_by('page.key', 'u.id')}"
    )
    # The sort index alone serves the scan, for any values.
    return PageStatement(sql, query.parameters, is_prepared=True)


def estimate(query: UserQuery) -> str:
    """The plan that selects all matches, as JSON."""
    return f"EXPLAIN (FORMAT JSON) SELECT 1 FROM users WHERE {query.where(query.conditions)}"


def count(query: UserQuery, limit: int | None) -> str:
    """The number of matches, counted up to `limit` + 1. LIMIT is a subquery as in `by_lookup`."""
    hide_partition = bool(query.terms) and query.uses_only_lexemes
    rows = f"SELECT FROM users WHERE {query.where(query.conditions, hide_partition=hide_partition)}"
    limited = rows if limit is None else f"{rows} LIMIT (SELECT {limit + 1})"
    return f"SELECT count(*) FROM ({limited}) AS found"


def _limited(rows: str) -> str:
    """The first `rows`. The planner sees the greatest limit of any page, so that all pages have one plan."""
    return f"SELECT * FROM ({rows} LIMIT {MAX_PAGE_SIZE + 1}) AS rows LIMIT %(row_limit)s::integer"


def _columns(query: UserQuery, key: str) -> str:
    return f"u.id, {user_json(trashed=query.deleted)}, {_cursor_text(query, key)}"


def _cursor_text(query: UserQuery, key: str) -> str:
    """The sort key as a cursor holds it."""
    if query.sort in ("created_at", "updated_at"):
        return f"to_char({key}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USOF')"
    return key
