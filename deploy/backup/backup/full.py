"""Takes a full backup with pg_basebackup, straight into the archive."""

import re
from datetime import UTC, datetime

from backup.archive import Archive, FullBackup
from backup.errors import Failed
from backup.programs import Database
from backup.status import log
from backup.wal import identify, segment_of

_START = re.compile(r"write-ahead log start point: (\S+) on timeline (\d+)")
_SERVER = """
SELECT json_build_object('now', clock_timestamp(), 'version', current_setting('server_version'),
  'segment_bytes', pg_size_bytes(current_setting('wal_segment_size')))
"""
_STOP = re.compile(r"write-ahead log end point: (\S+)")


def take(archive: Archive, database: Database) -> FullBackup:
    """Take a full backup. It can be used when the archive has the WAL up to its stop_lsn. Raises: Failed"""
    system_id, _ = identify(database)
    started = datetime.now(UTC)
    backup_id = started.strftime("%Y%m%dT%H%M%SZ")
    log("full_backup_started", id=backup_id)
    # With the WAL of its own duration, so that it can be restored even without the archive of WAL. Data checksums are
    # verified if the cluster has them.
    base = ["pg_basebackup", "--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--verbose"]
    options = ["--manifest-checksums=SHA256", f"--label=backup {backup_id}", "--no-password"]
    path = archive.full / f"{backup_id}.tar.zst.age"
    try:
        said = archive.put(path, [*base, *options], env=database.env)
        start, stop = _find(_START, said), _find(_STOP, said)
        found = database.json(_SERVER)
    except Failed:
        path.unlink(missing_ok=True)
        raise
    backup = FullBackup(
        id=backup_id,
        system_id=system_id,
        timeline=int(start[2]),
        started_at=started.isoformat(timespec="microseconds"),
        # By the clock of the database, as the times of transactions in the WAL.
        finished_at=found["now"],
        start_lsn=start[1],
        stop_lsn=stop[1],
        first_segment=segment_of(start[1], int(start[2]), found["segment_bytes"]),
        segment_bytes=found["segment_bytes"],
        bytes=path.stat().st_size,
        server=found["version"],
    )
    archive.add(backup)
    log("full_backup_finished", id=backup_id, bytes=backup.bytes)
    return backup


def _find(pattern: re.Pattern[str], said: str) -> re.Match[str]:
    if match := pattern.search(said):
        return match
    raise Failed(f"pg_basebackup: it did not say where the backup begins and ends: {said!r}")
