"""Compares the connections that all replicas may open with those that PostgreSQL accepts.

Other programs, such as postgres-exporter and the service `backup`, are not counted (docs/operations.md, Sizes).
"""

from typing import NamedTuple

import psycopg
import structlog

from app.config import CONNECT_TIMEOUT_S, Settings

log = structlog.get_logger(__name__)

_BACKGROUND = 2
"""Connections of each replica beside those of the workers: the change poller and the index cleaner."""
_RETENTION = 1
"""A further one if it deletes what is old."""
_METRICS = 2
"""Further ones with METRICS_PORT: one to check PostgreSQL, and one to read its revision."""
# reserved_connections is new in PostgreSQL 16.
_LIMITS = (
    "SELECT max(setting::int) FILTER (WHERE name = 'max_connections'),"
    " coalesce(sum(setting::int) FILTER (WHERE name <> 'max_connections'), 0)::int FROM pg_settings"
    " WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
)


class ConnectionLimit(NamedTuple):
    """Connections that all replicas may open, and one more replica during a rolling update; and those available.

    advice: what to change if there are too few.
    """

    needed: int
    available: int
    advice: str


def connection_limit(settings: Settings) -> ConnectionLimit:
    """Ask PostgreSQL. The preparing process needs fewer, before the workers serve. Raises: psycopg.Error"""
    with psycopg.connect(settings.database_conninfo, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        accepted, reserved = connection.execute(_LIMITS).fetchone() or (0, 0)
    replicas, workers, available = settings.replicas + 1, settings.worker_count, accepted - reserved
    # The pool, and the connection of health checks.
    background = _BACKGROUND + (_RETENTION if settings.history_days or settings.trash_days else 0)
    background += _METRICS if settings.metrics_port else 0
    needed = replicas * (workers * (settings.database_pool_size + 1) + background)
    fitting = (available // replicas - background) // workers - 1
    smaller = f"set DATABASE_POOL_SIZE to {fitting} or less" if fitting > 0 else "use fewer WORKERS"
    return ConnectionLimit(needed, available, f"{smaller}, or set max_connections to {needed + reserved} or more")


def warn_of_too_many_connections(settings: Settings) -> None:
    """Log a warning if PostgreSQL accepts too few connections. Raises: psycopg.Error"""
    limit = connection_limit(settings)
    if limit.needed > limit.available:
        log.warning(
            "too_many_connections", **limit._asdict(), replicas=settings.replicas, workers=settings.worker_count
        )
