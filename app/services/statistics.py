"""How many users have a word, from the statistics that PostgreSQL keeps: one read a minute, no look at a table."""

import time
from typing import Any

from sqlalchemy import text

from app.extensions import Resources, reading, resources
from app.services.words import Term

_GOOD_FOR_S = 60.0
# The last frequencies of the array are of no element: least, greatest, and that of NULL.
_READ = text(
    "SELECT greatest(c.reltuples, 0) AS total, s.most_common_elems::text::text[] AS lexemes,"
    " s.most_common_elem_freqs AS shares FROM pg_class AS c LEFT JOIN pg_stats AS s"
    " ON s.schemaname = c.relnamespace::regnamespace::text AND s.tablename = c.relname AND s.attname = 'words'"
    " WHERE c.oid = 'users'::regclass"
)
_DEFAULT_SHARE = 0.005


class Statistics:
    """Shares of the most common lexemes, some thousand of them, as ANALYZE last saw them."""

    def __init__(self, _: Resources) -> None:
        self.total = 0
        self._shares: dict[str, float] = {}
        self._rest = _DEFAULT_SHARE
        self._read_at = 0.0

    def refresh(self) -> None:
        """Read them again when they are older than a minute. Raises: Unavailable"""
        if self._read_at and time.monotonic() - self._read_at < _GOOD_FOR_S:
            return
        with reading() as connection:
            row: Any = connection.execute(_READ).one()
        self.total = int(row.total)
        self._shares = dict(zip(row.lexemes or (), row.shares or (), strict=False))
        # A lexeme that is not among them is rarer than all of them.
        self._rest = min(self._shares.values(), default=2 * _DEFAULT_SHARE) / 2
        self._read_at = time.monotonic()

    def rows(self, term: Term) -> float:
        """How many users `term` should fit."""
        if not term.is_prefix:
            return self.total * self._shares.get(term.lexeme, self._rest)
        common = sum(share for lexeme, share in self._shares.items() if lexeme.startswith(term.lexeme))
        return self.total * min(1.0, common or self._rest)


def statistics() -> Statistics:
    """The statistics of the current application, a minute old at most. Raises: Unavailable"""
    found = resources().part(Statistics)
    found.refresh()
    return found
