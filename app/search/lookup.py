"""Which conditions of a list query an index looks up, and which are checked on the rows that it returns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.search import bounds
from app.search import text as search_text
from app.search.planner_stats import Statistics
from app.search.query_builder import UserQuery
from app.search.text import Term


@dataclass(frozen=True, slots=True)
class Lookup:
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
    created_share = statistics.created_share(query.created_after, query.created_before)
    uses_range = bool(query.created_range) and created_share * partition_rows <= bounds.MAX_POSTING_LIST_ROWS
    looks_up_tag = partition_rows <= statistics.total * bounds.MIN_SHARE_WITHOUT_DELETED_TAG
    terms = _lookup_terms(query.terms, statistics)
    filters = [term for term in query.terms if term not in terms]
    parameters = {
        "lookup_tsquery": search_text.tsquery(terms, deleted=query.deleted if looks_up_tag else None),
        "filter_tsquery": search_text.tsquery(filters, deleted=query.deleted),
    }
    share = math.prod(statistics.rows(term) / max(statistics.total, 1) for term in terms)
    share *= created_share if uses_range else 1
    expected_rows = share * partition_rows if terms or uses_range else math.inf
    conditions = _conditions(query, terms, filters, uses_range=uses_range)
    return Lookup(conditions, query.parameters | parameters, expected_rows)


def fills_a_page(query: UserQuery, statistics: Statistics, lookup: Lookup) -> bool:
    """Whether a scan of the sort index finds a whole page, provided that matches are spread evenly."""
    scanned_rows = bounds.MAX_SCANNED_ROWS[query.sort]
    return lookup.expected_rows * scanned_rows >= query.limit * statistics.partition_rows(deleted=query.deleted)


def _lookup_terms(terms: list[Term], statistics: Statistics) -> list[Term]:
    """The terms that the lexeme index looks up: none if all posting lists are long, else all but long prefixes.

    PostgreSQL skips through the long list of a lexeme, but it reads all lists of a prefix.
    """
    chosen, has_short_list = [], False
    for term in dict.fromkeys(terms):
        max_rows = bounds.MAX_PREFIX_POSTING_LIST_ROWS if term.is_prefix else bounds.MAX_POSTING_LIST_ROWS
        is_short_list = statistics.rows(term) <= max_rows
        has_short_list = has_short_list or is_short_list
        if is_short_list or not term.is_prefix:
            chosen.append(term)
    return chosen if has_short_list else []


def _conditions(query: UserQuery, terms: list[Term], filters: list[Term], *, uses_range: bool) -> list[str]:
    """PostgreSQL uses no index for a condition with IS TRUE. It checks the condition on the rows."""
    return [
        *(["search_vector @@ %(lookup_tsquery)s::tsquery"] if terms else []),
        *(["(search_vector @@ %(filter_tsquery)s::tsquery) IS TRUE"] if filters else []),
        *(query.created_range if uses_range else [f"({condition}) IS TRUE" for condition in query.created_range]),
    ]
