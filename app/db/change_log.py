"""The history as a change log: checks its index, and resets transaction ids of another cluster."""

import psycopg
import structlog

from app.errors import StartError
from app.models import NO_XID

log = structlog.get_logger(__name__)

_INDEX = "history_by_xid"
_BATCH = 10_000
_IS_USABLE = "SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)), false)"
_RESET = (
    "UPDATE history SET xid = %(none)s WHERE id IN (SELECT id FROM history"
    " WHERE xid > '3' AND xid >= pg_snapshot_xmax(pg_current_snapshot()) LIMIT %(batch)s)"
)


def require_index(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Require the index that the change poller uses. Raises: StartError, psycopg.Error"""
    if connection.execute(_IS_USABLE, [_INDEX]).fetchone() != (True,):
        raise StartError(
            f"The index {_INDEX} of the table history is missing or invalid, as after an interrupted build."
            f" Rebuild it as the owner of the tables, then start again: DROP INDEX IF EXISTS {_INDEX};"
            f" CREATE INDEX CONCURRENTLY {_INDEX} ON history (xid) WHERE xid > '3';"
        )


def reset_future_xids(conninfo: str) -> int:
    """Set xids to NO_XID that are in the future, after a dump of another cluster was restored.

    Each batch is committed. Returns the number of changed entries. Raises: psycopg.Error
    """
    total = 0
    with psycopg.connect(conninfo, autocommit=True) as connection:
        if connection.execute(_IS_USABLE, [_INDEX]).fetchone() != (True,):
            # The revision of the database has no change log yet.
            return total
        while count := connection.execute(_RESET, {"none": NO_XID, "batch": _BATCH}).rowcount:
            total += count
    if total:
        log.info("xids_reset", entries=total)
    return total
