"""Deletes history entries older than HISTORY_DAYS, and users longer in the trash than TRASH_DAYS, in the background.

Small transactions with pauses, so that no request waits. A transaction that is interrupted deletes nothing. Of several
hosts one deletes entries at a time. Several may purge: a purge requires the version that the host has read.
"""

import threading
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, func, select, text

from app.auth.permissions import AuditContext, system_actor
from app.config import Settings
from app.db.database import Database
from app.errors import Busy, DomainError, NotFound, Unavailable, VersionConflict
from app.models import NO_XID, RetentionRecord, table_of
from app.users.commands import UserCommands

log = structlog.get_logger(__name__)

_LOCK = 5003
"""The advisory lock of a transaction that deletes entries."""
_INTERVAL_S = 60.0
"""Pause after which it looks again. Longer than the time after which a change poller begins anew (see _IS_SETTLED)."""
_PAUSE_S = 0.25
_ENTRIES, _USERS = 500, 50
"""Entries and users of one step. A step of users is one transaction for each."""
_AUDIT_CONTEXT = AuditContext(system_actor("TRASH_DAYS"))
_records = table_of(RetentionRecord)

# Deleted users do not change, so the index of updated_at finds them.
_EXPIRED_USERS = (
    "SELECT id, version, now() - make_interval(days => %(days)s) AS deleted_before FROM users"
    " WHERE deleted_at < now() - make_interval(days => %(days)s)"
    " AND updated_at < now() - make_interval(days => %(days)s) AND id <> ALL (%(kept)s)"
    f" ORDER BY updated_at, id LIMIT {_USERS}"
)
# Change pollers read the entries of transactions that have ended since their last poll, and the largest xid before it.
# So an entry is deleted only if its transaction ended before `settled`, the xmin of a snapshot _INTERVAL_S ago: since
# then each poller has polled, or begins anew. The newest of these entries stays. An xid in the future is of another
# cluster, a dump of which was restored.
_IS_SETTLED = (
    f"xid = '{NO_XID}' OR xid >= pg_snapshot_xmax(pg_current_snapshot())"
    f" OR xid < (SELECT max(xid) FROM history WHERE xid > '{NO_XID}' AND xid < %(settled)s::xid8)"
)
# In the order of ids, which is almost that of time. The last step is the first without an old entry.
_DELETE_ENTRIES = f"""
WITH step AS MATERIALIZED (
  SELECT id, xid, created_at < now() - make_interval(days => %(days)s) AS is_old FROM history
  WHERE id > %(after)s ORDER BY id LIMIT {_ENTRIES}),
found AS MATERIALIZED (
  SELECT id FROM history WHERE id = ANY (ARRAY(SELECT id FROM step WHERE is_old AND ({_IS_SETTLED})))
  FOR UPDATE SKIP LOCKED),
deleted AS (DELETE FROM history WHERE id = ANY (ARRAY(SELECT id FROM found)) RETURNING id)
SELECT (SELECT count(*) FROM deleted) AS deleted, coalesce(bool_or(is_old), false) AS has_old, max(id) AS last_id,
  now() - make_interval(days => %(days)s) AS deleted_before
FROM step
"""
_RECORD = """
INSERT INTO retention AS r (kind, deleted, deleted_before) VALUES (%(kind)s, %(deleted)s, %(deleted_before)s)
ON CONFLICT (kind) DO UPDATE SET deleted = r.deleted + excluded.deleted, deleted_at = excluded.deleted_at,
  deleted_before = greatest(r.deleted_before, excluded.deleted_before)
"""


class Retention:
    """Deletes what is old in a thread, and reports how much it has deleted."""

    def __init__(self, database: Database, users: UserCommands, settings: Settings) -> None:
        self._database, self._users = database, users
        self._history_days, self._trash_days = settings.history_days, settings.trash_days
        self._settled: str | None = None

    def start(self) -> None:
        """Start the thread, if something is to be deleted. It runs until the process ends."""
        if self._history_days or self._trash_days:
            threading.Thread(target=self._run, name="retention", daemon=True).start()

    def prune(self) -> None:
        """Delete what is old now: users at the first call, and history entries from the second call on.

        Calls are _INTERVAL_S apart. Errors are logged. What was deleted until then stays deleted.
        """
        for days, prune in ((self._trash_days, self._prune_trash), (self._history_days, self._prune_history)):
            try:
                if days:
                    prune()
            except DomainError as error:
                # PostgreSQL is unavailable, or a lock was taken.
                log.warning("retention_interrupted", error=str(error))
            except Exception:
                log.exception("retention_failed")

    def records(self) -> dict[str, Row[Any]]:
        """What all hosts have deleted (deleted, deleted_before, deleted_at), by `history` and `trash`.

        Raises: Unavailable
        """
        with self._database.connection() as connection:
            return {row.kind: row for row in connection.execute(select(_records))}

    def _run(self) -> None:
        while True:
            self.prune()
            time.sleep(_INTERVAL_S)

    def _prune_trash(self) -> None:
        """Purge the users, each in a transaction of its own. A user that can't be purged waits for the next run."""
        total, kept = 0, list[uuid.UUID]()
        while found := self._expired_users(kept):
            remaining = [row.id for row in found if not self._purge(row.id, row.version)]
            if purged := len(found) - len(remaining):
                with self._database.transaction() as connection:
                    _record(connection, "trash", purged, found[0].deleted_before)
            total, kept = total + purged, kept + remaining
            time.sleep(_PAUSE_S)
        if total:
            log.info("trash_pruned", users=total, days=self._trash_days)

    def _expired_users(self, kept: list[uuid.UUID]) -> Sequence[Row[Any]]:
        with self._database.connection() as connection:
            return connection.exec_driver_sql(_EXPIRED_USERS, {"days": self._trash_days, "kept": kept}).all()

    def _purge(self, user_id: uuid.UUID, version: int) -> bool:
        """Purge a user as an administrator does. Returns False if it has changed, or is locked. Raises: Unavailable"""
        try:
            self._users.purge(user_id, lambda found: found == version, _AUDIT_CONTEXT)
        except DomainError as error:
            if isinstance(error, Unavailable) and not isinstance(error, Busy):
                raise
            # After a restore, or a purge by another host, there is nothing to do.
            if not isinstance(error, (NotFound, VersionConflict)):
                log.warning("user_not_purged", user_id=str(user_id), error=str(error))
            return False
        return True

    def _snapshot_xmin(self) -> str:
        with self._database.connection() as connection:
            return str(connection.scalar(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")))

    def _prune_history(self) -> None:
        settled, self._settled = self._settled, self._snapshot_xmin()
        total, after, has_old = 0, 0, settled is not None
        while has_old:
            with self._database.transaction() as connection:
                if not connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
                    # Another host deletes entries.
                    break
                parameters = {"days": self._history_days, "after": after, "settled": settled}
                step = connection.exec_driver_sql(_DELETE_ENTRIES, parameters).one()
                if step.deleted:
                    _record(connection, "history", step.deleted, step.deleted_before)
            total, after, has_old = total + step.deleted, step.last_id, step.has_old
            time.sleep(_PAUSE_S if has_old else 0)
        if total:
            log.info("history_pruned", entries=total, days=self._history_days)


def _record(connection: Connection, kind: str, deleted: int, deleted_before: datetime) -> None:
    values = {"kind": kind, "deleted": deleted, "deleted_before": deleted_before}
    connection.exec_driver_sql(_RECORD, values)
