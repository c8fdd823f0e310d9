"""How many users fit, from the statistics that PostgreSQL keeps: one read a minute, no look at a table."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.db.database import Database
from app.search import text as search_text
from app.search.text import Term

SNAPSHOT_TTL_S = 60.0
# The last frequencies of the array are of no element: least, greatest, and that of NULL.
_READ = text(
    "SELECT greatest(c.reltuples, 0) AS total, s.most_common_elems::text::text[] AS lexemes,"
    " s.most_common_elem_freqs AS shares, d.histogram_bounds::text::timestamptz[] AS moments,"
    " d.most_common_vals::text::timestamptz[] AS common_moments, d.most_common_freqs AS moment_shares"
    " FROM pg_class AS c"
    " LEFT JOIN pg_stats AS s"
    " ON s.schemaname = c.relnamespace::regnamespace::text AND s.tablename = c.relname AND s.attname = 'words'"
    " LEFT JOIN pg_stats AS d"
    " ON d.schemaname = c.relnamespace::regnamespace::text AND d.tablename = c.relname AND d.attname = 'created_at'"
    " WHERE c.oid = 'users'::regclass"
)
_DEFAULT_SHARE = 0.005
# What is said of a lexeme that is not among the common: nearly all of them are names that few have, in a table of any
# size. Half the share of the least common would be 7,000 of 10,000,000 users, and look-ups of one person seem dear.
_UNCOMMON = 1_000


@dataclass(frozen=True, slots=True)
class Statistics:
    """One immutable snapshot of what ANALYZE last saw, which threads read while another one reads the next.

    total: rows of the table. lexemes: the most common, some thousand of them, sorted; shares: of the users that have
    each of them. rest: the share of a lexeme that is not among them. moments: bounds of the histogram of `created_at`;
    common_moments: the shares of times at which many users were created.
    """

    total: int = 0
    lexemes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    rest: float = _DEFAULT_SHARE
    moments: tuple[datetime, ...] = ()
    common_moments: Mapping[datetime, float] = field(default_factory=dict)

    def rows(self, term: Term) -> float:
        """How many users `term` should fit."""
        begin = bisect_left(self.lexemes, term.lexeme)
        share = 0.0
        for place in range(begin, len(self.lexemes)):
            lexeme = self.lexemes[place]
            if not (lexeme.startswith(term.lexeme) if term.is_prefix else lexeme == term.lexeme):
                break
            share += self.shares[place]
        return self.total * min(1.0, share) if share else min(self.total * self.rest, _UNCOMMON)

    def partition_rows(self, *, deleted: bool) -> float:
        """The number of deleted users, or of active ones."""
        in_trash = self.rows(Term(search_text.TRASH_MARK))
        return in_trash if deleted else self.total - in_trash

    def created_share(self, after: datetime | None, before: datetime | None) -> float:
        """The share of users that were created between two moments (None: at any time). 1 when nothing is known."""
        if not self.moments and not self.common_moments:
            return 1.0
        common = self.common_moments.items()
        met = sum(share for at, share in common if (not after or at > after) and (not before or at < before))
        span = (self._before(before) if before else 1.0) - (self._before(after) if after else 0.0)
        return met + max(span, 0.0) * (1 - sum(self.common_moments.values()))

    def _before(self, moment: datetime) -> float:
        """The share of users, those of common moments aside, that were created before: as many in each step."""
        steps = len(self.moments) - 1
        step = bisect_right(self.moments, moment) - 1
        if step < 0 or steps < 1:
            return 0.0
        if step >= steps:
            return 1.0
        begin, end = self.moments[step], self.moments[step + 1]
        return (step + (moment - begin) / (end - begin)) / steps


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
            last = self._last = (self._read(), time.monotonic())
        return last[0]

    def _read(self) -> Statistics:
        with self._database.connection() as connection:
            row: Any = connection.execute(_READ).one()
        known = sorted(zip(row.lexemes or (), row.shares or (), strict=False))
        shares = tuple(share for _, share in known)
        return Statistics(
            total=int(row.total),
            lexemes=tuple(lexeme for lexeme, _ in known),
            shares=shares,
            # A lexeme that is not among the most common ones is rarer than all of them.
            rest=min(shares, default=2 * _DEFAULT_SHARE) / 2,
            moments=tuple(row.moments or ()),
            common_moments=dict(zip(row.common_moments or (), row.moment_shares or (), strict=False)),
        )
