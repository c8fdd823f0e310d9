"""Figures about all users, for the first page of the console."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import orjson
from sqlalchemy import Date, cast, func, select

from app.errors import Unavailable
from app.extensions import answers, reading
from app.schemas import ListQuery
from app.services import listing, sessions
from app.services.documents import users
from app.services.keys import SIGN_UPS_KEY

DAYS = 30


@dataclass(frozen=True, slots=True)
class Overview:
    """How many there are; None: not known now. `sign_ups` has each of the last days, today (UTC) last."""

    users: int
    inactive: int
    trashed: int
    sessions: int | None
    sign_ups: list[tuple[date, int]]


def overview() -> Overview:
    """The figures, from the cache or counted. Raises: Unavailable"""
    everybody, inactive, trashed = (
        listing.count(query, exact=True) for query in (ListQuery(), ListQuery(active=False), ListQuery(deleted=True))
    )
    try:
        signed_in = sessions.how_many()
    except Unavailable:
        signed_in = None
    per_day = orjson.loads(answers().of_all_dear(SIGN_UPS_KEY, _sign_ups))
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    return Overview(everybody, inactive, trashed, signed_in, [(day, per_day.get(day.isoformat(), 0)) for day in days])


def _sign_ups() -> bytes:
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    day = cast(users.c.created_at, Date)
    statement = (
        select(day.label("day"), func.count().label("made"))
        .where(users.c.deleted_at.is_(None), users.c.created_at >= since)
        .group_by(day)
    )
    with reading() as connection:
        return orjson.dumps({row.day.isoformat(): row.made for row in connection.execute(statement)})
