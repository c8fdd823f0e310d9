"""Figures about all users, for the first page of the console: in bounded time, whatever the size of the table."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import Date, cast, func, select, text

from app.auth import sessions
from app.errors import Unavailable
from app.extensions import answers, resources, writing
from app.models import users
from app.schemas import ListQuery

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
class Overview:
    """How many there are; None: not known now. `sign_ups` has each of the last days, today (UTC) last."""

    users: Figure
    inactive: Figure
    trashed: Figure
    sessions: Figure | None
    sign_ups: list[tuple[date, int]]
    sign_ups_exact: bool


def overview() -> Overview:
    """The figures, from the cache, counted or estimated. Raises: Unavailable"""
    pages = resources().user_pages
    everybody, trashed = (
        Figure(*pages.count_or_estimate(ListQuery(deleted=deleted), COUNTED)) for deleted in (False, True)
    )
    most = COUNTED if everybody.is_exact else SCATTERED
    inactive = Figure(*pages.count_or_estimate(ListQuery(active=False), most))
    try:
        signed_in = Figure(sessions.how_many())
    except Unavailable:
        signed_in = None
    is_exact, numbers = orjson.loads(answers().get_or_compute(_SIGN_UPS_KEY, lambda: _sign_ups(everybody)))
    today = datetime.now(UTC).date()
    days = [today - ago * _DAY for ago in range(DAYS - 1, -1, -1)]
    shown = [(day, numbers.get(day.isoformat(), 0)) for day in days]
    return Overview(everybody, inactive, trashed, signed_in, shown, is_exact)


def _sign_ups(everybody: Figure) -> bytes:
    """Whether they are exact, and how many users were made on each day, by its date, as JSON."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight - (DAYS - 1) * _DAY
    known = resources().planner_stats.snapshot()
    living = known.partition_rows(deleted=False)
    if everybody.is_exact or known.created_share(first, None) * living <= COUNTED:
        counted = _counted_per_day(first)
        is_exact = sum(counted.values()) <= COUNTED
        if is_exact or not known.total:
            # Before the first ANALYZE of a table nothing is known but what was counted.
            return orjson.dumps([is_exact, counted])
    days = [first + ahead * _DAY for ahead in range(DAYS)]
    guessed = {day.date().isoformat(): round(known.created_share(day, day + _DAY) * living) for day in days}
    return orjson.dumps([False, guessed])


def _counted_per_day(since: datetime) -> dict[str, int]:
    """How many of the newest users, at most COUNTED + 1, were made on each day."""
    living = (users.c.deleted_at.is_(None), users.c.created_at >= since)
    newest = select(users.c.created_at).where(*living).order_by(users.c.created_at.desc()).limit(COUNTED + 1).subquery()
    day = cast(newest.c.created_at, Date)
    # SET LOCAL needs a transaction. Statistics of before an import would let PostgreSQL sort the whole table.
    with writing() as connection:
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        connection.execute(text("SET LOCAL enable_sort = off"))
        rows = connection.execute(select(day.label("day"), func.count().label("made")).group_by(day))
        return {row.day.isoformat(): row.made for row in rows}
