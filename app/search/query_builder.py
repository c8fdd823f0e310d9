"""A list query as SQL: its conditions, its order, and the statements of pages and counts.

A page is read in one of three ways. Each uses an index and reads a bounded number of rows:

- `in_order`: the sort index serves all conditions.
- `by_lookup`: other indexes return all matches, which are then sorted. Cheap if few rows match.
- `by_scan`: the sort index is scanned from the cursor on, and rows that do not match are dropped. Cheap if many match.

The columns of a page are: id, JSON, sort key, and those that the function names.
"""

import functools
import re
from itertools import compress
from typing import Any

from app.identifiers import canonical
from app.models import PRIVILEGED_ROLE, SORT_KEYS, TAGGED_FIELDS, user_json
from app.schemas import ListQuery
from app.search import bounds, cursors
from app.search import text as search_text
from app.search.cursors import Keyset
from app.search.text import Term
from app.types import MAX_PAGE_SIZE, TIMESTAMP

_TIMESTAMP_COLUMNS = ("created_at", "updated_at")
_CREATED_RANGE = ("created_at > %(created_after)s::timestamptz", "created_at < %(created_before)s::timestamptz")
_KEY_CONDITIONS = (f"{SORT_KEYS['email']} = %(email)s", f"{SORT_KEYS['username']} = %(username)s")
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


class UserQuery:
    """A list query as SQL. Every value is a parameter.

    limit: users of a page. sort_column: the expression of the sort index. partition: the condition for active (or
    deleted) users. key_conditions: on username and email, which are unique. created_range: conditions on `created_at`.
    terms: words and tags that a user must have. conditions: all filters. is_filtered: there are filters that the sort
    index does not serve. has_role_index: sort indexes that begin with the role serve its filter. lookup_partition: the
    condition `partition` for look-ups. If only the lexeme index serves a filter, PostgreSQL must use no partial index,
    so the condition has IS TRUE. keyset: where the page begins; None is the first page.
    Raises: BadRequest (the cursor)
    """

    def __init__(self, query: ListQuery) -> None:
        self.limit, self.deleted = query.limit, query.deleted
        self.partition = f"deleted_at IS {'NOT ' if query.deleted else ''}NULL"
        self.sort = query.sort.removeprefix("-")
        self.sort_column = SORT_KEYS[self.sort]
        self.cursor_kind = f"users:{query.sort}:{'trash' if query.deleted else 'live'}"
        self.keyset = cursors.decode(self.cursor_kind, query.cursor, self._read_key) if query.cursor else None
        self.backwards = self.keyset is not None and self.keyset.backwards
        self.descending = query.sort.startswith("-") != self.backwards
        self.terms = _terms(query)
        self.parameters = _parameters(query, self.terms, self.keyset)
        self.key_conditions = list(compress(_KEY_CONDITIONS, (query.email, query.username)))
        self.created_range = list(compress(_CREATED_RANGE, (query.created_after, query.created_before)))
        lexemes = ["search_vector @@ %(tsquery)s::tsquery"] if self.terms else []
        self.conditions = [*self.key_conditions, *lexemes, *self.created_range]
        self.has_role_index = query.role not in (None, "member") and not query.deleted
        range_is_filter = bool(self.created_range) and self.sort != "created_at"
        self.is_filtered = bool(self.key_conditions) or len(self.terms) > self.has_role_index or range_is_filter
        uses_only_lexemes = self.terms and not (self.key_conditions or self.created_range or query.deleted)
        self.lookup_partition = f"({self.partition}) IS TRUE" if uses_only_lexemes else self.partition

    @property
    def index_conditions(self) -> list[str]:
        """The conditions that the sort index serves. `updated_at` is never before `created_at`."""
        role = ["role = %(role)s", PRIVILEGED_ROLE] if self.has_role_index else []
        if self.sort == "created_at":
            return [*role, *self.created_range]
        if self.sort == "updated_at" and self.parameters["created_after"] is not None:
            return [*role, "updated_at > %(created_after)s::timestamptz"]
        return role

    def keyset_conditions(self, column: str) -> list[str]:
        """The condition for rows after the keyset, in the direction of reading. Empty for the first page."""
        if self.keyset is None:
            return []
        cast = "::timestamptz" if self.sort in _TIMESTAMP_COLUMNS else ""
        operator = ("<" if self.descending else ">") + ("=" if self.keyset.inclusive else "")
        return [f"({column}, id) {operator} (%(cursor_key)s{cast}, %(cursor_id)s::uuid)"]

    def order_by(self, column: str, row_id: str = "id") -> str:
        """ORDER BY, in the direction of reading."""
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY {column} {direction}, {row_id} {direction}"

    def _read_key(self, key: str) -> object:
        """Refuses values that PostgreSQL could not compare with a sort key. Raises: ValueError, TypeError"""
        if self.sort in _TIMESTAMP_COLUMNS:
            # Cursors have the offset in hours, and it is always zero.
            if not key.endswith("+00"):
                raise ValueError
            return TIMESTAMP.validate_python(f"{key}:00")
        if "\x00" in key:
            raise ValueError
        return key.encode()


def _terms(query: ListQuery) -> list[Term]:
    """The words of a search are prefixes. Short prefixes are lexemes themselves."""
    words = dict.fromkeys(search_text.tokenize(query.q))
    terms = [Term(word, len(word) > search_text.MAX_SHORT_PREFIX_CHARACTERS) for word in words]
    for key, text in query.attributes.items():
        terms.append(Term(search_text.attribute_tag(key, text)))
    for name in TAGGED_FIELDS:
        value = getattr(query, name)
        if value is not None:
            terms.append(Term(search_text.field_tag(name, value)))
    return terms


def _parameters(query: ListQuery, terms: list[Term], keyset: Keyset | None) -> dict[str, Any]:
    """All parameters by name, also those that no condition uses. They are None."""
    return {
        "row_limit": query.limit + 1,
        "email": query.email and canonical(query.email),
        "username": query.username and canonical(query.username),
        "role": query.role,
        "tsquery": search_text.tsquery(terms, deleted=query.deleted),
        "created_after": query.created_after,
        "created_before": query.created_before,
        "cursor_key": keyset and keyset.key,
        "cursor_id": keyset and keyset.id,
    }


def in_order(query: UserQuery) -> str:
    """The rows after the cursor. The sort index serves every condition, for any values."""
    columns, where = _COLUMNS[query.sort, query.deleted], _where(query)
    return _limited(f"SELECT {columns} FROM users AS u WHERE {where} {query.order_by(query.sort_column)}")


def by_lookup(query: UserQuery, conditions: list[str]) -> str:
    """The first of all sorted matches. No row at all: there are more than MAX_SORTED_ROWS.

    An empty page is one row without an id.
    """
    # LIMIT is a subquery, so that the planner does not see its value: it would choose to scan another index, on which
    # it expects to find so many rows early. It must not use a partial index of the partition either.
    where = " AND ".join([query.lookup_partition, *conditions])
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
