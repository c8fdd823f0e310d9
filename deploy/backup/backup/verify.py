"""Proves a full backup: restores it with all WAL since then, and compares the result with the database.

The database goes on while it is compared. So users with a change in the history of the database that the restored one
does not have are left out on both sides. So are entries of the history that are old enough for the service to have
deleted them meanwhile (HISTORY_DAYS). All other rows must be equal.
"""

import shutil
import time
from typing import Any

from backup.archive import Archive, FullBackup
from backup.errors import Failed, NotProven
from backup.events import MARGIN
from backup.programs import Database
from backup.server import Target, restored
from backup.status import Status, log, now
from backup.wal import lsn

TABLES = {"users": "id", "tokens": "user_id", "identifiers": "user_id", "history": "user_id"}
"""The compared tables, and their columns with the id of a user."""
_ARCHIVE_TIMEOUT_S = 120
_POLL_S = 0.2
_NEWEST = "SELECT row_to_json(h) FROM (SELECT id, created_at, action FROM history ORDER BY id DESC LIMIT 1) AS h"
# One statement, so one snapshot. last_used_at of a token is written without an entry in the history. A sum does not
# depend on the order of rows.
_FIGURES = """
WITH changed AS (SELECT * FROM ({changed}) AS c),
  excluded AS (SELECT DISTINCT user_id FROM changed WHERE user_id IS NOT NULL)
SELECT json_build_object(
  'everything', EXISTS (SELECT FROM changed WHERE user_id IS NULL),
  'changed', (SELECT coalesce(json_agg(user_id), '[]') FROM excluded),
  'kept_since', ({kept_since}),
  'tables', json_build_object({tables}))
"""
_TABLE = """
'{table}', (SELECT json_build_object(
    'rows', count(*), 'checksum', coalesce(sum(hashtextextended({row}, 0)::numeric), 0)::text)
  FROM {table} AS t WHERE NOT EXISTS (SELECT FROM excluded AS e WHERE e.user_id = t.{column}) {condition})
"""
# The service deletes entries from before this time, and writes it down in the same transaction.
_HAS_RETENTION = "SELECT to_json(to_regclass('retention') IS NOT NULL)"
_KEPT_SINCE = "SELECT deleted_before FROM retention WHERE kind = 'history'"
_IS_KEPT = "AND t.created_at >= coalesce(({kept_since}), '-infinity')"
_ROWS = {
    "tokens": "(t.id, t.user_id, t.name, t.role, t.digest, t.created_at, t.expires_at)::text",
}
_SINCE = "SELECT to_json(coalesce(max(created_at), '-infinity') - :'margin'::interval) FROM history"
_IDS = "SELECT coalesce(json_agg(id), '[]') FROM history WHERE created_at > :'since'"
# A list of ids would be too long for an argument, so it is part of the statement.
_LIVE_CHANGED = "SELECT user_id FROM history WHERE created_at > '{since}' AND id <> ALL ('{{{ids}}}'::bigint[])"
_LIVE_CONDITION = "AND NOT (t.created_at > '{since}' AND t.id <> ALL ('{{{ids}}}'::bigint[]))"


def prove(archive: Archive, backup: FullBackup, database: Database, status: Status) -> dict[str, Any]:
    """The result of the verification of a full backup, for the status file. It never raises for a broken backup."""
    started, clock = now(), time.monotonic()
    result: dict[str, Any] = {"backup_id": backup.id, "started_at": started, "proven": False, "reason": None}
    folder = archive.settings.work / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
        newest = database.json(_NEWEST)
        await_archive(database, status)
        with restored(archive, backup, folder, Target()) as server:
            result |= compare(database, server.database, newest)
        result["proven"] = True
    except (NotProven, Failed, OSError) as error:
        result["reason"] = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result |= {"finished_at": now(), "duration_s": round(time.monotonic() - clock, 1)}
    log("backup_proven" if result["proven"] else "backup_not_proven", id=backup.id, reason=result["reason"])
    return result


def await_archive(database: Database, status: Status) -> None:
    """Wait until the archive has the WAL that the database has written by now. Raises: Failed"""
    target = database.json("SELECT to_json(pg_current_wal_lsn())")
    deadline = time.monotonic() + _ARCHIVE_TIMEOUT_S
    while lsn(status.read().get("wal", {}).get("archived_lsn") or "0/0") < lsn(target):
        if time.monotonic() > deadline:
            raise Failed(f"The archive did not receive the WAL up to {target} within {_ARCHIVE_TIMEOUT_S} s")
        time.sleep(_POLL_S)


def compare(live: Database, scratch: Database, newest: dict[str, Any] | None) -> dict[str, Any]:
    """Compare. Raises: NotProven, Failed"""
    if newest and _lacks(scratch, newest) and not _lacks(live, newest):
        raise NotProven(f"The entry {newest['id']} of the history, the newest before the restore, is not restored")
    since = str(scratch.json(_SINCE, margin=f"{MARGIN.total_seconds()} s"))
    ids = ",".join(map(str, scratch.json(_IDS, since=since)))
    known = {"since": since, "ids": ids}
    kept_since = _KEPT_SINCE if live.json(_HAS_RETENTION) else "SELECT NULL::timestamptz"
    condition = f"{_LIVE_CONDITION.format(**known)} {_IS_KEPT.format(kept_since=kept_since)}"
    expected = live.json(_figures(_LIVE_CHANGED.format(**known), condition, kept_since))
    if expected["everything"]:
        raise NotProven(
            "One statement changed all users while the backup was verified. The next verification repeats it"
        )
    changed = ",".join(expected["changed"])
    kept_since = f"SELECT '{expected['kept_since'] or '-infinity'}'::timestamptz"
    condition = _IS_KEPT.format(kept_since=kept_since)
    found = scratch.json(_figures(f"SELECT unnest('{{{changed}}}'::uuid[]) AS user_id", condition, kept_since))
    for table, figures in expected["tables"].items():
        if found["tables"][table] != figures:
            raise NotProven(f"The table {table} differs: {found['tables'][table]} restored, {figures} in the database")
    return {
        "tables": found["tables"],
        "changed_meanwhile": len(expected["changed"]),
        "newest_history": scratch.json(_NEWEST),
    }


def _lacks(database: Database, entry: dict[str, Any]) -> bool:
    return database.json("SELECT row_to_json(h) FROM history AS h WHERE id = :'id'", id=str(entry["id"])) is None


def _figures(changed: str, history_condition: str, kept_since: str) -> str:
    tables = [
        _TABLE.format(
            table=table,
            column=column,
            row=_ROWS.get(table, "t::text"),
            condition=history_condition if table == "history" else "",
        )
        for table, column in TABLES.items()
    ]
    return _FIGURES.format(changed=changed, kept_since=kept_since, tables=",".join(tables))
