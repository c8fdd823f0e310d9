"""Which conditions of a list query an index looks up, by the planner statistics of PostgreSQL.

The statistics are read once a minute, without a look at the table.
"""

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text

from app.db.database import Database
from app.search import bounds
from app.search import text as search_text
from app.search.query_builder import UserQuery
from app.search.text import Term

SNAPSHOT_TTL_S = 60.0
# The array of frequencies ends with three numbers of no lexeme: the least frequency, the greatest, and that of NULL.
_READ = text(
    "SELECT greatest(c.reltuples, 0) AS total, s.most_common_elems::text::text[] AS lexemes,"
    " s.most_common_elem_freqs AS shares, d.histogram_bounds::text::timestamptz[] AS time_bounds,"
    " d.most_common_vals::text::timestamptz[] AS common_times, d.most_common_freqs AS time_shares"
    " FROM pg_class AS c"
    " LEFT JOIN pg_stats AS s"
    " ON s.schemaname = c.relnamespace::regnamespace::text AND s.tablename = c.relname AND s.attname = 'search_vector'"
    " LEFT JOIN pg_stats AS d"
    " ON d.schemaname = c.relnamespace::regnamespace::text AND d.tablename = c.relname AND d.attname = 'created_at'"
    " WHERE c.oid = 'users'::regclass"
)
_DEFAULT_SHARE = 0.005
# Greatest estimate for a lexeme that is not among the most common ones. Most of these are names that few users have, in
# a table of any size. Half the share of the least common lexeme is 7,000 of 10,000,000 users, so that a look-up of one
# user would seem expensive.
_MAX_UNCOMMON_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the last ANALYZE found. Immutable, because threads use it while another thread reads the next one.

    total: rows of the table. lexemes: some thousand most common ones, sorted. shares: of users with each of these.
    uncommon_share: of users with any other lexeme. time_bounds: of the histogram of `created_at`, without
    common_times, which have a share each.
    """

    total: int = 0
    lexemes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    uncommon_share: float = _DEFAULT_SHARE
    time_bounds: tuple[datetime, ...] = ()
    common_times: Mapping[datetime, float] = field(default_factory=dict)

    def rows(self, term: Term) -> float:
        """The estimated number of users who match `term`."""
        begin = bisect_left(self.lexemes, term.lexeme)
        share = 0.0
        for index in range(begin, len(self.lexemes)):
            lexeme = self.lexemes[index]
            if not (lexeme.startswith(term.lexeme) if term.is_prefix else lexeme == term.lexeme):
                break
            share += self.shares[index]
        return self.total * min(1.0, share) if share else min(self.total * self.uncommon_share, _MAX_UNCOMMON_ROWS)

    def partition_rows(self, *, deleted: bool) -> float:
        """The estimated number of deleted users, or of all others."""
        deleted_rows = self.rows(Term(search_text.DELETED_TAG))
        return deleted_rows if deleted else self.total - deleted_rows

    def created_share(self, after: datetime | None, before: datetime | None) -> float:
        """The share of users created after and before these times (None: no bound). 1 before the first ANALYZE."""
        if not self.time_bounds and not self.common_times:
            return 1.0
        common = self.common_times.items()
        at_common = sum(share for at, share in common if (not after or at > after) and (not before or at < before))
        between = (self._share_before(before) if before else 1.0) - (self._share_before(after) if after else 0.0)
        return at_common + max(between, 0.0) * (1 - sum(self.common_times.values()))

    def _share_before(self, time_: datetime) -> float:
        """The share of users, without those of common times, created before `time_`. All buckets have as many users."""
        buckets = len(self.time_bounds) - 1
        bucket = bisect_right(self.time_bounds, time_) - 1
        if bucket < 0 or buckets < 1:
            return 0.0
        if bucket >= buckets:
            return 1.0
        begin, end = self.time_bounds[bucket], self.time_bounds[bucket + 1]
        return (bucket + (time_ - begin) / (end - begin)) / buckets


class PlannerStats:
    """Reads the statistics of the planner, and keeps one snapshot for `ttl_s`."""

    def __init__(self, database: Database, ttl_s: float = SNAPSHOT_TTL_S) -> None:
        self._database, self._ttl_s = database, ttl_s
        # One tuple, so that no thread reads a snapshot together with the time of another one.
        self._last: tuple[Statistics, float] | None = None

    def snapshot(self) -> Statistics:
        """The statistics, at most `ttl_s` old. Raises: Unavailable"""
        last = self._last
        if last is None or time.monotonic() - last[1] >= self._ttl_s:
            last = (self._read(), time.monotonic())
            self._last = last
        return last[0]

    def _read(self) -> Statistics:
        with self._database.connection() as connection:
            row: Any = connection.execute(_READ).one()
        by_lexeme = sorted(zip(row.lexemes or (), row.shares or (), strict=False))
        shares = tuple(share for _, share in by_lexeme)
        return Statistics(
            total=int(row.total),
            lexemes=tuple(lexeme for lexeme, _ in by_lexeme),
            shares=shares,
            # Any other lexeme is rarer than the most common ones.
            uncommon_share=min(shares, default=2 * _DEFAULT_SHARE) / 2,
            time_bounds=tuple(row.time_bounds or ()),
            common_times=dict(zip(row.common_times or (), row.time_shares or (), strict=False)),
        )


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
    looked_up, others = [], []
    share, has_short_list = 1.0, False
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
