"""SQL of pages and counts, with %(name)s for the parameters of the query.

A page is read in one of three ways. Each uses an index and reads a bounded number of rows:

- `in_order`: the sort index serves all conditions.
- `by_lookup`: other indexes return all matches, which are then sorted. Cheap if few rows match.
- `by_scan`: the sort index is scanned from the cursor on, and rows that do not match are dropped. Cheap if many match.

The columns of a page are: id, JSON, sort key, and those that the function names.
"""

import functools
import re

from app.models import SORT_KEYS, user_json
from app.search import bounds
from app.search.query_builder import Lookup, UserQuery
from app.types import MAX_PAGE_SIZE

_CURSOR_KEYS = SORT_KEYS | {
    name: f"to_char({name}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USOF')" for name in ("created_at", "updated_at")
}
"""The sort key as a cursor holds it, by sort order."""
_COLUMNS = {
    (sort, deleted): f"u.id, {user_json(trashed=deleted)}, {key}"
    for sort, key in _CURSOR_KEYS.items()
    for deleted in (False, True)
}
"""The columns of a page, by sort order and partition."""
_PARAMETER = re.compile(r"%\(\w+\)s(::\w+)?")


def in_order(query: UserQuery) -> str:
    """The rows after the cursor. The sort index serves every condition, for any values."""
    columns, where = _COLUMNS[query.sort, query.deleted], _where(query)
    return _limited(f"SELECT {columns} FROM users AS u WHERE {where} {query.order_by(query.sort_column)}")


def by_lookup(query: UserQuery, lookup: Lookup) -> str:
    """The first of all sorted matches. No row at all: there are more than MAX_SORTED_ROWS.

    An empty page is one row without an id.
    """
    # LIMIT is a subquery, so that the planner does not see its value: it would choose to scan another index, on which
    # it expects to find so many rows early. It must not use a partial index of the partition either.
    where = " AND ".join([query.lookup_partition, *lookup.conditions])
    after_cursor = " AND ".join(["true", *query.keyset_conditions("key")])
    page = _limited(f"SELECT id, key FROM hits WHERE {after_cursor} {query.order_by('key')}")
    return (
        f"WITH hits AS MATERIALIZED (SELECT id, {query.sort_column} AS key FROM users"
        f" WHERE {where} LIMIT (SELECT {bounds.MAX_SORTED_ROWS + 1})),"
        f" page AS ({page})"
        f" SELECT {_COLUMNS[query.sort, query.deleted]}"
        f" FROM (SELECT count(*) AS hits FROM hits) AS total"
        f" LEFT JOIN (page JOIN users AS u ON u.id = page.id) ON true"
        f" WHERE total.hits <= {bounds.MAX_SORTED_ROWS} {query.order_by('page.key', 'u.id')}"
    )


def by_scan(query: UserQuery, max_rows: int) -> str:
    """The matches among the next `max_rows` of the sort index, and the id and sort key of the last row.

    A row without an id of its own has the last row; there is none if the scan filled the page or reached the end. It
    is one statement, so that no write comes between. PostgreSQL reads only as many rows as the page needs. To read the
    last row from the index again is cheaper than to materialize the scan. The sort index alone serves the scan, for
    any values.
    """
    where, order = _where(query), query.order_by(query.sort_column)
    scanned = (
        f"SELECT id, {query.sort_column} AS key, {' AND '.join(query.conditions)} AS fits"
        f" FROM users WHERE {where} {order} LIMIT {max_rows}"
    )
    return (
        f"WITH page AS MATERIALIZED ({_limited(f'SELECT id, key FROM ({scanned}) AS scanned WHERE fits')}),"
        f" stop AS (SELECT id, {_CURSOR_KEYS[query.sort]} AS key FROM users"
        f" WHERE {where} AND (SELECT count(*) FROM page) < %(row_limit)s {order} OFFSET {max_rows - 1} LIMIT 1)"
        f" SELECT {_COLUMNS[query.sort, query.deleted]}, stop.id, stop.key"
        f" FROM stop FULL JOIN (page JOIN users AS u ON u.id = page.id) ON false"
        f" {query.order_by('page.key', 'u.id')}"
    )


def estimate(query: UserQuery) -> str:
    """The plan that selects all matches, as JSON."""
    where = " AND ".join([query.partition, *query.conditions])
    return f"EXPLAIN (FORMAT JSON) SELECT 1 FROM users WHERE {where}"


def count(query: UserQuery, limit: int | None) -> str:
    """The number of matches, counted up to `limit` + 1. LIMIT is a subquery as in `by_lookup`."""
    rows = f"SELECT FROM users WHERE {' AND '.join([query.lookup_partition, *query.conditions])}"
    limited = rows if limit is None else f"{rows} LIMIT (SELECT {limit + 1})"
    return f"SELECT count(*) FROM ({limited}) AS found"


@functools.lru_cache(maxsize=1000)
def hide_values(sql: str) -> str:
    """Put each parameter behind a SELECT. The planner then knows no value, and makes one plan for all values."""
    return _PARAMETER.sub(r"(SELECT \g<0>)", sql)


def _where(query: UserQuery) -> str:
    """The conditions that the sort index serves, and the position of the cursor in it."""
    return " AND ".join([query.partition, *query.index_conditions, *query.keyset_conditions(query.sort_column)])


def _limited(rows: str) -> str:
    """The first `rows`. The planner sees the greatest limit of any page, so that all pages have one plan."""
    return f"SELECT * FROM ({rows} LIMIT {MAX_PAGE_SIZE + 1}) AS rows LIMIT %(row_limit)s::integer"
