"""The conditions and the order of a list query as SQL, and which of the conditions an index looks up."""

import math
from collections.abc import Mapping
from itertools import starmap
from typing import Any, NamedTuple

from app.identifiers import canonical
from app.models import PRIVILEGED_ROLE, SORT_KEYS, TAGGED_FIELDS
from app.schemas import ListQuery
from app.search import bounds, cursors
from app.search import text as search_text
from app.search.cursors import Keyset
from app.search.planner_stats import Statistics
from app.search.text import Term
from app.types import TIMESTAMP

_TIMESTAMP_COLUMNS = ("created_at", "updated_at")
_CREATED_RANGE = {
    "created_after": "created_at > %(created_after)s::timestamptz",
    "created_before": "created_at < %(created_before)s::timestamptz",
}
_KEY_CONDITIONS = {name: f"{SORT_KEYS[name]} = %({name})s" for name in ("email", "username")}


class UserQuery:
    """A list query as SQL. Every value is a parameter.

    limit: users of a page. sort_column: the expression of the sort index. partition: the condition for active (or
    deleted) users. key_conditions: on username and email, which are unique. created_range: conditions on `created_at`.
    terms: words and tags that a user must have. conditions: all filters. is_filtered: there are filters that the sort
    index does not serve. has_role_index: sort indexes that begin with the role serve its filter. lookup_partition: the
    partition in a form of which no partial index is used if the lexeme index is the only one that serves a filter;
    else the planner chooses by the values. keyset: where the page begins; None is the first page.
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
        self.key_conditions = [sql for name, sql in _KEY_CONDITIONS.items() if self.parameters[name] is not None]
        self.created_range = [sql for name, sql in _CREATED_RANGE.items() if self.parameters[name] is not None]
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
        """The condition for rows after the keyset, in the direction of reading. None for the first page."""
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


class Lookup(NamedTuple):
    """Conditions in the form that is cheapest to look up, with their parameters.

    expected_rows: estimated matches. Infinite if no index serves a condition with a short posting list.
    """

    conditions: list[str]
    parameters: Mapping[str, Any]
    expected_rows: float


def plan_lookup(query: UserQuery, statistics: Statistics) -> Lookup:
    """The look-up that reads no long posting list. Terms with long lists are checked on the rows of the other terms."""
    if query.key_conditions:
        return Lookup(query.conditions, query.parameters, 1)
    partition_rows = statistics.partition_rows(deleted=query.deleted)
    terms, filters, share = _split_terms(query.terms, statistics)
    expected_rows = share * partition_rows if terms else math.inf
    conditions = ["search_vector @@ %(lookup_tsquery)s::tsquery"] if terms else []
    # PostgreSQL uses no index for a condition with IS TRUE. It checks the condition on the rows.
    if filters:
        conditions.append("(search_vector @@ %(filter_tsquery)s::tsquery) IS TRUE")
    if query.created_range:
        created_share = statistics.created_share(query.parameters["created_after"], query.parameters["created_before"])
        if created_share * partition_rows <= bounds.MAX_POSTING_LIST_ROWS:
            conditions += query.created_range
            expected_rows = created_share * min(expected_rows, partition_rows)
        else:
            conditions += [f"({condition}) IS TRUE" for condition in query.created_range]
    looks_up_tag = partition_rows <= statistics.total * bounds.MIN_SHARE_WITHOUT_DELETED_TAG
    parameters = {
        "lookup_tsquery": search_text.tsquery(terms, deleted=query.deleted if looks_up_tag else None),
        "filter_tsquery": search_text.tsquery(filters, deleted=query.deleted),
    }
    return Lookup(conditions, query.parameters | parameters, expected_rows)


def fills_a_page(query: UserQuery, statistics: Statistics, lookup: Lookup) -> bool:
    """Whether a scan of the sort index finds a whole page, provided that matches are spread evenly."""
    scanned_rows = bounds.MAX_SCANNED_ROWS[query.sort]
    return lookup.expected_rows * scanned_rows >= query.limit * statistics.partition_rows(deleted=query.deleted)


def _split_terms(terms: list[Term], statistics: Statistics) -> tuple[list[Term], list[Term], float]:
    """The terms that the lexeme index looks up, the other terms, and the share of users who match the first ones.

    None is looked up if all posting lists are long, else all but long prefixes: PostgreSQL skips through the long list
    of a lexeme, but it reads all lists of a prefix.
    """
    looked_up, others, share, has_short_list = [], [], 1.0, False
    for term in terms:
        rows = statistics.rows(term)
        max_rows = bounds.MAX_PREFIX_POSTING_LIST_ROWS if term.is_prefix else bounds.MAX_POSTING_LIST_ROWS
        has_short_list = has_short_list or rows <= max_rows
        if term.is_prefix and rows > max_rows:
            others.append(term)
        else:
            looked_up.append(term)
            share *= rows / max(statistics.total, 1)
    return (looked_up, others, share) if has_short_list else ([], terms, 1.0)


def _terms(query: ListQuery) -> list[Term]:
    """The words of a search are prefixes. Short prefixes are lexemes themselves."""
    words = dict.fromkeys(search_text.tokenize(query.q))
    terms = [Term(word, len(word) > search_text.MAX_SHORT_PREFIX_CHARACTERS) for word in words]
    terms += map(Term, starmap(search_text.attribute_tag, query.attributes.items()))
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
