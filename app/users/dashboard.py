"""Figures about all users, for the first page of the console: in bounded time, whatever the size of the table."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import Date, cast, func, select, text

from app.auth.sessions import Sessions
from app.cache.redis_answers import Answers
from app.db.database import Database
from app.errors import Unavailable
from app.models import users
from app.schemas import ListQuery
from app.search.pages import UserPages
from app.search.planner_stats import PlannerStats

DAYS = 30
COUNTED = 5_000
"""Users that are counted, about 1 ms; of more there is PostgreSQL's estimate, as of the last ANALYZE."""
SCATTERED = 1_000
"""The same of users who lie anywhere in a large table, about 3 ms."""
_DAY = timedelta(days=1)
_SIGN_UPS_KEY = "sign-ups-per-day"


class Figure(NamedTuple):
    """A number, and whether it is exact: else it is an estimate."""

    number: int
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class Figures:
    """How many there are; None: not known now. `sign_ups` has each of the last days, today (UTC) last."""

    users: Figure
    inactive: Figure
    trashed: Figure
    sessions: Figure | None
    sign_ups: list[tuple[date, int]]
    sign_ups_exact: bool


class Dashboard:
    """The figures of the console's first page."""

    def __init__(
        self, database: Database, pages: UserPages, planner_stats: PlannerStats, sessions: Sessions, answers: Answers
    ) -> None:
        self._database, self._pages, self._planner_stats = database, pages, planner_stats
        self._sessions, self._answers = sessions, answers

    def figures(self) -> Figures:
        """The figures, from the cache, counted or estimated. Raises: Unavailable"""
        everybody, trashed = (
            Figure(*self._pages.count_or_estimate(ListQuery(deleted=deleted), COUNTED)) for deleted in (False, True)
        )
        most = COUNTED if everybody.is_exact else SCATTERED
        inactive = Figure(*self._pages.count_or_estimate(ListQuery(active=False), most))
        try:
            signed_in = Figure(self._sessions.count())
        except Unavailable:
            signed_in = None
        is_exact, numbers = orjson.loads(self._answers.get_or_compute(_SIGN_UPS_KEY, lambda: self._sign_ups(everybody)))
        today = datetime.now(UTC).date()
        days = [today - ago * _DAY for ago in range(DAYS - 1, -1, -1)]
        shown = [(day, numbers.get(day.isoformat(), 0)) for day in days]
        return Figures(everybody, inactive, trashed, signed_in, shown, is_exact)

    def _sign_ups(self, everybody: Figure) -> bytes:
        """Whether they are exact, and how many users were made on each day, by its date, as JSON."""
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight - (DAYS - 1) * _DAY
        known = self._planner_stats.snapshot()
        living = known.partition_rows(deleted=False)
        if everybody.is_exact or known.created_share(first, None) * living <= COUNTED:
            counted = self._count_per_day(first)
            is_exact = sum(counted.values()) <= COUNTED
            if is_exact or not known.total:
                # Before the first ANALYZE of a table nothing is known but what was counted.
                return orjson.dumps([is_exact, counted])
        days = [first + ahead * _DAY for ahead in range(DAYS)]
        guessed = {day.date().isoformat(): round(known.created_share(day, day + _DAY) * living) for day in days}
        return orjson.dumps([False, guessed])

    def _count_per_day(self, since: datetime) -> dict[str, int]:
        """How many of the newest users, at most COUNTED + 1, were made on each day."""
        living = (users.c.deleted_at.is_(None), users.c.created_at >= since)
        newest = (
            select(users.c.created_at).where(*living).order_by(users.c.created_at.desc()).limit(COUNTED + 1).subquery()
        )
        day = cast(newest.c.created_at, Date)
        # SET LOCAL needs a transaction. Statistics of before an import would let PostgreSQL sort the whole table.
        with self._database.transaction() as connection:
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
            rows = connection.execute(select(day.label("day"), func.count().label("made")).group_by(day))
            return {row.day.isoformat(): row.made for row in rows}
