"""Deletes history entries older than HISTORY_DAYS, and users longer in the trash than TRASH_DAYS, in the background.

Small transactions with pauses, so that no request waits. A transaction that is interrupted deletes nothing. Of several
hosts one deletes at a time.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, func, select, text

from app.auth.permissions import AuditContext, system_actor
from app.config import Settings
from app.db.database import Database
from app.errors import DomainError, NotFound, VersionConflict
from app.models import NO_XID, RetentionRecord, table_of
from app.users.commands import UserCommands

log = structlog.get_logger(__name__)

_LOCK = 5003
"""The advisory lock of a transaction that deletes what is old."""
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
    f" AND updated_at < now() - make_interval(days => %(days)s) ORDER BY updated_at, id LIMIT {_USERS}"
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
    """Deletes what is old in a thread, and tells what it has deleted."""

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

        Calls are _INTERVAL_S apart. Raises: DomainError
        """
        if self._trash_days:
            self._prune_trash()
        if self._history_days:
            settled, self._settled = self._settled, self._snapshot_xmin()
            if settled is not None:
                self._prune_history(settled)

    def records(self) -> dict[str, Row[Any]]:
        """What all hosts have deleted (deleted, deleted_before, deleted_at), by `history` and `trash`.

        Raises: Unavailable
        """
        with self._database.connection() as connection:
            return {row.kind: row for row in connection.execute(select(_records))}

    def _run(self) -> None:
        while True:
            try:
                self.prune()
            except DomainError as error:
                # PostgreSQL is unavailable, or a lock was taken. What was deleted until now stays deleted.
                log.warning("retention_interrupted", error=str(error))
            except Exception:
                log.exception("retention_failed")
            time.sleep(_INTERVAL_S)

    def _prune_trash(self) -> None:
        total, purged = 0, _USERS
        while purged:
            with self._step() as connection:
                purged = self._purge_some(connection) if connection else 0
            total += purged
            time.sleep(_PAUSE_S if purged else 0)
        if total:
            log.info("trash_pruned", users=total, days=self._trash_days)

    def _purge_some(self, connection: Connection) -> int:
        """Purge the users of one step, each in a transaction of its own. Returns their number."""
        found = connection.exec_driver_sql(_EXPIRED_USERS, {"days": self._trash_days}).all()
        purged = sum(self._purge(row.id, row.version) for row in found)
        if purged:
            _record(connection, "trash", purged, found[0].deleted_before)
        return purged

    def _purge(self, user_id: uuid.UUID, version: int) -> bool:
        """Purge a user as an administrator does. Returns False if it has changed, for example by a restore."""
        try:
            self._users.purge(user_id, lambda found: found == version, _AUDIT_CONTEXT)
        except (NotFound, VersionConflict):
            return False
        return True

    def _snapshot_xmin(self) -> str:
        with self._database.connection() as connection:
            return str(connection.scalar(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")))

    def _prune_history(self, settled: str) -> None:
        total, after, has_old = 0, 0, True
        while has_old:
            with self._step() as connection:
                if connection is None:
                    break
                parameters = {"days": self._history_days, "after": after, "settled": settled}
                step = connection.exec_driver_sql(_DELETE_ENTRIES, parameters).one()
                if step.deleted:
                    _record(connection, "history", step.deleted, step.deleted_before)
            total, after, has_old = total + step.deleted, step.last_id, step.has_old
            time.sleep(_PAUSE_S if has_old else 0)
        if total:
            log.info("history_pruned", entries=total, days=self._history_days)

    @contextmanager
    def _step(self) -> Iterator[Connection | None]:
        """A transaction in which no other host deletes what is old. None: another one does."""
        with self._database.transaction() as connection:
            is_alone = connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK)))
            yield connection if is_alone else None


def _record(connection: Connection, kind: str, deleted: int, deleted_before: datetime) -> None:
    values = {"kind": kind, "deleted": deleted, "deleted_before": deleted_before}
    connection.exec_driver_sql(_RECORD, values)
