"""Pages of users: any search, filter and sort in bounded time, whatever the size of the table.

Two ways lead to a page, and each uses an index and looks at a bounded number of rows:

- by what is asked: the index of words (or of dates, or a unique key) gives all rows
  that fit, and they are sorted. Cheap when few rows fit.
- in order: the index of the sort is walked from the cursor on, and the rows that fit
  are kept. Cheap when many rows fit.

PostgreSQL's statistics choose, but the bounds decide: an estimate may be off by any
factor, and a wrong plan without bound reads the whole table. Should many rows fit but
hardly any near the cursor, the page ends where the walk ended, and its `next` goes on
from there: short, even empty, but never wrong and never slow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from app.cache.redis_answers import Answers
from app.db.connection import statement_of
from app.db.database import Database
from app.models import user_json
from app.schemas import ListQuery
from app.search import cursors
from app.search.answer_keys import count_key, is_short, page_key
from app.search.cursors import Position
from app.search.planner_stats import PlannerStats
from app.search.query_builder import Selection

FEW = 2_000
"""Rows that fit and are fetched and sorted without further thought, about 4 ms."""
CHEAP = 1_000
"""Rows that fit and are fetched and sorted about as soon as Redis is asked twice, by nearly all words of which that is
foretold: see Statistics.rows."""
SOME = 18_000
"""Rows that fit and can still be fetched and sorted, about 30 ms."""
MOST = 30_000
"""Rows at which that is given up, when the estimate was too low."""
LISTED = 150_000
"""Longest list of rows that an index is asked for, about 10 ms."""
MERGED = 50_000
"""The same for a long prefix, whose list is merged from those of many words."""
WALK = {"created_at": 40_000, "updated_at": 16_000, "name": 8_000, "username": 8_000, "email": 8_000}
"""Rows that a walk looks at, about 30 ms: those of one hour lie side by side, those of one name anywhere."""
MOSTLY = 0.75
"""The share of all users that live, above which the index is not asked to leave out the trash: the rows say it too,
and its list, of 2 % of 10,000,000 users, took four times as long as the one that was looked for."""
LONGEST_S = 2.0
"""How long one statement of a list may take."""
PROBE = 10
"""The share of a walk, one in so many, that shows whether rows that fit lie near the cursor."""


@dataclass(frozen=True, slots=True)
class Page:
    """A JSON array of users, and the cursors of the pages around it (None: there is none)."""

    body: bytes
    next_cursor: str | None
    previous_cursor: str | None


class _Row(NamedTuple):
    """A user of a page as PostgreSQL writes it: id (empty: no user), JSON, sort key, and what else was asked."""

    id: bytes
    body: bytes
    sort_key: bytes
    rest: Sequence[bytes]


class UserPages:
    """Lists of users, as pages of JSON, and their counts."""

    def __init__(self, database: Database, answers: Answers, planner_stats: PlannerStats) -> None:
        self._database, self._answers, self._planner_stats = database, answers, planner_stats

    def page(self, query: ListQuery) -> Page:
        """The page that `query` asks for. Raises: Malformed (the cursor), Unavailable"""
        selection = Selection(query)
        if self._is_cheap(selection) or not is_short(query):
            return self._found(selection)
        return _unpacked(self._answers.get_or_compute(page_key(query), lambda: self._packed(selection)))

    def count(self, query: ListQuery) -> int:
        """The number of users in the whole list, counted. Raises: Unavailable"""
        selection = Selection(query)
        if not is_short(query):
            return int(self._counted(selection))
        return int(self._answers.get_or_compute(count_key(query), lambda: self._counted(selection)))

    def estimate(self, query: ListQuery) -> int:
        """The number of users that the planner of PostgreSQL expects in the whole list. Raises: Unavailable"""
        selection = Selection(query)
        return self._estimate(selection, selection.conditions)

    def count_or_estimate(self, query: ListQuery, limit: int | None = None) -> tuple[int, bool]:
        """The number of users in the whole list, and whether it is exact.

        Nothing is counted if the estimate is above `limit` (None: SOME). Raises: Unavailable
        """
        limit = SOME if limit is None else limit
        estimate = self.estimate(query)
        return (estimate, False) if estimate > limit else self.count_up_to(query, limit)

    def count_up_to(self, query: ListQuery, limit: int) -> tuple[int, bool]:
        """The number of users in the whole list, and whether it is exact: it is up to `limit`.

        At most one user more than `limit` is counted. Raises: Unavailable
        """
        selection, key = Selection(query), f"{count_key(query)}:{limit}"
        if is_short(query):
            counted = int(self._answers.get_or_compute(key, lambda: self._counted(selection, limit)))
        else:
            counted = int(self._counted(selection, limit))
        return (counted, True) if counted <= limit else (max(self.estimate(query), counted), False)

    def _is_cheap(self, selection: Selection) -> bool:
        """Whether PostgreSQL gives a page as soon as Redis: in an order, or of what hardly anybody is known to have."""
        if not selection.filtered or selection.exact:
            return True
        known = self._planner_stats.snapshot()
        return bool(known.total and selection.terms) and all(known.rows(term) <= CHEAP for term in selection.terms)

    def _packed(self, selection: Selection) -> bytes:
        found = self._found(selection)
        return b"".join((orjson.dumps([found.next_cursor, found.previous_cursor]), b"\n", found.body))

    def _found(self, selection: Selection) -> Page:
        rows, stopped_at = self._find(selection)
        more = len(rows) > selection.limit
        rows = rows[: selection.limit]
        if selection.backwards:
            rows.reverse()
        ahead, behind = _around(selection, rows, more=more, stopped_at=stopped_at)
        return Page(b"".join((b"[", b",".join(row.body for row in rows), b"]")), ahead, behind)

    def _find(self, selection: Selection) -> tuple[list[_Row], Position | None]:
        """Up to limit + 1 rows, and where the search stopped if it stopped before the end."""
        if not selection.filtered:
            return self._in_order(selection), None
        conditions, expected = self._lookup(selection)
        budget = WALK[selection.sort]
        if FEW < expected <= SOME and self._fills_a_page(selection, expected, budget):
            # What statistics can't say: whether rows that fit lie near the cursor, or all elsewhere in this order.
            rows, stopped_at = self._walk(selection, budget // PROBE)
            if stopped_at is None:
                return rows, None
            if len(rows) * PROBE >= selection.limit:
                return self._walk(selection, budget)
        if expected <= SOME and (sorted_rows := self._by_conditions(selection, conditions)) is not None:
            return sorted_rows, None
        return self._walk(selection, budget)

    def _fills_a_page(self, selection: Selection, expected: float, budget: int) -> bool:
        """Whether a walk should meet enough of the `expected` rows, were they spread evenly."""
        return expected * budget >= selection.limit * self._planner_stats.snapshot().partition_rows(
            deleted=selection.trashed
        )

    def _lookup(self, selection: Selection) -> tuple[list[str], float]:
        """The conditions in the form that is cheapest to look up, and how many rows that should give.

        Long lists are not read to be intersected: what they say is compared in the rows that
        the short ones give. When there is no short one, looking up is no way (all rows).
        """
        if selection.exact:
            return selection.conditions, 1
        known = self._planner_stats.snapshot()
        half = known.partition_rows(deleted=selection.trashed)
        lists = {term: known.rows(term) for term in selection.terms}
        short = [term for term, rows in lists.items() if rows <= (MERGED if term.is_prefix else LISTED)]
        sought = [term for term in lists if term in short or not term.is_prefix] if short else []
        share = math.prod(lists[term] / max(known.total, 1) for term in sought)
        dated = known.created_share(selection.created_after, selection.created_before)
        in_range = bool(selection.range) and dated * half <= LISTED
        share *= dated if in_range else 1
        expected = share * half if sought or in_range else math.inf
        return selection.looked_up(sought, in_range=in_range, mostly_fit=half > known.total * MOSTLY), expected

    def _in_order(self, selection: Selection) -> list[_Row]:
        """The next rows in the order of the sort, whose index serves all that is asked."""
        conditions = [*selection.served, *selection.after_cursor(selection.key)]
        rows = (
            f"SELECT {_columns(selection, selection.key)} FROM users AS u"
            f" WHERE {selection.where(conditions)} {selection.order(selection.key)}"
        )
        return self._rows(selection.first(rows), selection, prepared=True)

    def _by_conditions(self, selection: Selection, conditions: list[str]) -> list[_Row] | None:
        """The first of all rows that fit `conditions`, sorted here; None when more than MOST fit.

        The LIMIT is hidden in a subquery: a planner that saw it would hope to meet so many
        rows early on a walk through some other index.
        """
        # No partial index is to look as if it led there as well.
        where = selection.where(conditions, hidden=selection.led_by_words)
        beyond = " AND ".join(["true", *selection.after_cursor("key")])
        page = selection.first(f"SELECT id, key FROM hits WHERE {beyond} {selection.order('key')}")
        rows = self._rows(
            f"WITH hits AS MATERIALIZED (SELECT id, {selection.key} AS key FROM users"
            f" WHERE {where} LIMIT (SELECT {MOST + 1})),"
            f" page AS ({page})"
            f" SELECT {_columns(selection, 'page.key')}, total.hits"
            f" FROM (SELECT count(*) AS hits FROM hits) AS total"
            f" LEFT JOIN (page JOIN users AS u ON u.id = page.id) ON true {selection.order('page.key', 'u.id')}",
            selection,
            # To a key of the living one way alone leads as well.
            prepared=not (selection.range or selection.trashed),
        )
        if int(rows[0].rest[0]) > MOST:
            return None
        return [row for row in rows if row.id]

    def _walk(self, selection: Selection, budget: int) -> tuple[list[_Row], Position | None]:
        """The rows that fit among the next `budget` in the order of the sort, and where it stopped before the end.

        One statement, so that nothing slips in between. Rows are read only as far as the page needs them. Where a walk
        stopped without filling it is asked of the index alone, which is cheaper than to keep what was walked.
        """
        where = selection.where([*selection.served, *selection.after_cursor(selection.key)])
        order = selection.order(selection.key)
        walked = (
            f"SELECT id, {selection.key} AS key, {' AND '.join(selection.conditions)} AS fits"
            f" FROM users WHERE {where} {order} LIMIT {budget}"
        )
        rows = self._rows(
            f"WITH page AS MATERIALIZED ({selection.first(f'SELECT id, key FROM ({walked}) AS walked WHERE fits')}),"
            f" stop AS (SELECT id, {selection.key} AS key FROM users"
            f" WHERE {where} AND (SELECT count(*) FROM page) < %(limit)s {order} OFFSET {budget - 1} LIMIT 1)"
            f" SELECT {_columns(selection, 'page.key')}, stop.id, {_shown(selection, 'stop.key')}"
            f" FROM stop FULL JOIN (page JOIN users AS u ON u.id = page.id) ON false"
            f" {selection.order('page.key', 'u.id')}",
            selection,
            # Only the index of the order leads through it, whatever is asked.
            prepared=True,
        )
        stops = [
            Position(row.rest[1].decode(), row.rest[0].decode(), selection.backwards) for row in rows if not row.id
        ]
        return [row for row in rows if row.id], stops[0] if stops else None

    def _estimate(self, selection: Selection, conditions: list[str]) -> int:
        """How many rows PostgreSQL expects to fit `conditions`, from its statistics."""
        statement = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM users WHERE {selection.where(conditions)}"
        with self._database.connection() as connection:
            plan = connection.exec_driver_sql(statement, selection.parameters).scalar_one()
        return int(plan[0]["Plan"]["Plan Rows"])

    def _counted(self, selection: Selection, most: int | None = None) -> bytes:
        """How many rows fit, as text. `most`: it is enough to know that there is one more than so many.

        That limit is hidden in a subquery, as in `_by_conditions`.
        """
        hidden = bool(selection.terms) and selection.led_by_words
        rows = f"SELECT FROM users WHERE {selection.where(selection.conditions, hidden=hidden)}"
        limit = "" if most is None else f" LIMIT (SELECT {most + 1})"
        with self._database.connection() as connection:
            statement = f"SELECT count(*) FROM ({rows}{limit}) AS found"
            return str(connection.exec_driver_sql(statement, selection.parameters).scalar_one()).encode()

    def _rows(self, sql: str, selection: Selection, *, prepared: bool = False) -> list[_Row]:
        """What a statement gives. `prepared`: it is planned for any values, not for these."""
        statement, names = statement_of(sql, prepared=prepared)
        found = self._database.execute_prepared(
            statement, *[selection.parameters[name] for name in names], timeout_s=LONGEST_S
        )
        columns = range(3, found.nfields)
        return [
            _Row(
                found.get_value(row, 0) or b"",
                found.get_value(row, 1) or b"",
                found.get_value(row, 2) or b"",
                [found.get_value(row, column) or b"" for column in columns] if columns else (),
            )
            for row in range(found.ntuples)
        ]


def _unpacked(kept: bytes) -> Page:
    head, _, body = kept.partition(b"\n")
    return Page(body, *orjson.loads(head))


def _around(
    selection: Selection, rows: list[_Row], *, more: bool, stopped_at: Position | None
) -> tuple[str | None, str | None]:
    """The cursors of the next and the previous page."""
    first = Position(rows[0].sort_key.decode(), rows[0].id.decode(), backwards=True) if rows else None
    last = Position(rows[-1].sort_key.decode(), rows[-1].id.decode()) if rows else None
    here = selection.position
    if selection.backwards:
        far = first if more else stopped_at
        near = last or (Position(here.key, here.id, inclusive=True) if here else None)
        ahead, behind = near, far
    else:
        ahead = last if more else stopped_at
        behind = (first or Position(here.key, here.id, backwards=True, inclusive=True)) if here else None
    return (
        cursors.encode(selection.kind, ahead) if ahead else None,
        cursors.encode(selection.kind, behind) if behind else None,
    )


def _columns(selection: Selection, key: str) -> str:
    """What _Row begins with, as SQL."""
    return f"u.id, {user_json(trashed=selection.trashed)}, {_shown(selection, key)}"


def _shown(selection: Selection, key: str) -> str:
    """The sort key in the form that a cursor keeps."""
    if selection.sort in ("created_at", "updated_at"):
        return f"to_char({key}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USOF')"
    return key
