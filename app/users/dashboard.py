"""The figures of the console's dashboard, computed in bounded time whatever the size of the table."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import orjson
from sqlalchemy import text

from app.auth.sessions import Sessions
from app.cache.redis_answers import RedisAnswers
from app.db.database import Database
from app.errors import Unavailable
from app.schemas import ListQuery
from app.search.pages import Count, UserPages
from app.search.planner import PlannerStats

DAYS = 30
MAX_COUNTED = 5_000
"""Users that are counted, about 1 ms. A larger number is PostgreSQL's estimate as of the last ANALYZE."""
MAX_COUNTED_SCATTERED = 1_000
"""The same limit for users that are scattered over a large table, about 3 ms."""
_DAY = timedelta(days=1)
_SIGN_UPS_KEY = "sign-ups-per-day"
_PER_DAY = text(
    "SELECT created_at::date AS day, count(*) AS sign_ups FROM (SELECT created_at FROM users WHERE deleted_at IS NULL"
    " AND created_at >= :since ORDER BY created_at DESC LIMIT :limit) AS newest GROUP BY day"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures. sessions: None while Redis is unavailable. sign_ups: new users of each day, today (UTC) last."""

    users: Count
    inactive: Count
    trashed: Count
    sessions: Count | None
    sign_ups: list[tuple[date, int]]
    sign_ups_exact: bool


class Dashboard:
    """Computes the figures of the dashboard."""

    def __init__(
        self, database: Database, pages: UserPages, planner: PlannerStats, sessions: Sessions, answers: RedisAnswers
    ) -> None:
        self._database, self._pages, self._planner = database, pages, planner
        self._sessions, self._answers = sessions, answers

    def figures(self) -> Figures:
        """The figures, cached, counted or estimated. Raises: Unavailable"""
        active_users = self._pages.count_or_estimate(ListQuery(), MAX_COUNTED)
        deleted_users = self._pages.count_or_estimate(ListQuery(deleted=True), MAX_COUNTED)
        limit = MAX_COUNTED if active_users.is_exact else MAX_COUNTED_SCATTERED
        inactive = self._pages.count_or_estimate(ListQuery(active=False), limit)
        try:
            sessions = Count(self._sessions.store.count())
        except Unavailable:
            sessions = None
        is_exact, numbers = orjson.loads(
            self._answers.get_or_compute(_SIGN_UPS_KEY, lambda: self._sign_ups(active_users))
        )
        today = datetime.now(UTC).date()
        days = [today - ago * _DAY for ago in range(DAYS - 1, -1, -1)]
        shown = [(day, numbers.get(day.isoformat(), 0)) for day in days]
        return Figures(active_users, inactive, deleted_users, sessions, shown, is_exact)

    def _sign_ups(self, active_users: Count) -> bytes:
        """JSON: whether the numbers are exact, and the number of new users by date."""
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight - (DAYS - 1) * _DAY
        stats = self._planner.snapshot()
        active_rows = stats.partition_rows(deleted=False)
        if active_users.is_exact or stats.created_share(first, None) * active_rows <= MAX_COUNTED:
            counted = self._count_per_day(first)
            is_exact = sum(counted.values()) <= MAX_COUNTED
            if is_exact or not stats.total:
                # Before the first ANALYZE there are no statistics to estimate from.
                return orjson.dumps([is_exact, counted])
        days = [first + ahead * _DAY for ahead in range(DAYS)]
        estimated = {day.date().isoformat(): round(stats.created_share(day, day + _DAY) * active_rows) for day in days}
        return orjson.dumps([False, estimated])

    def _count_per_day(self, since: datetime) -> dict[str, int]:
        """The number of new users by date, counted among the MAX_COUNTED + 1 newest."""
        # SET LOCAL needs a transaction. With outdated statistics PostgreSQL would sort the whole table.
        with self._database.transaction() as connection:
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
            rows = connection.execute(_PER_DAY, {"since": since, "limit": MAX_COUNTED + 1})
            return {row.day.isoformat(): row.sign_ups for row in rows}
