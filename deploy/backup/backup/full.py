"""Takes a full backup with pg_basebackup, straight into the archive."""

from datetime import UTC, datetime

from backup.archive import Archive, FullBackup
from backup.errors import Failed
from backup.programs import Database
from backup.status import Status, log
from backup.verify import await_archive
from backup.wal import identify, segment_of

_SERVER = """
SELECT json_build_object('now', clock_timestamp(), 'lsn', pg_current_wal_lsn(),
  'version', current_setting('server_version'), 'segment_bytes', pg_size_bytes(current_setting('wal_segment_size')))
"""


def take(archive: Archive, database: Database, status: Status) -> FullBackup:
    """Take a full backup, and wait until the archive has the WAL that it needs. Raises: Failed"""
    system_id, timeline = identify(database)
    backup_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    log("full_backup_started", id=backup_id)
    # Without WAL, which the archive has: the server may have deleted what `fetch` would read at the end, and `stream`
    # needs a folder. Data checksums are verified if the cluster has them.
    base = ["pg_basebackup", "--pgdata=-", "--format=tar", "--wal-method=none", "--checkpoint=fast"]
    options = ["--manifest-checksums=SHA256", f"--label=backup {backup_id}", "--no-password"]
    path = archive.full / f"{backup_id}.tar.zst.age"
    try:
        before = database.json(_SERVER)
        archive.put(path, [*base, *options], env=database.env)
        after = database.json(_SERVER)
        await_archive(database, status)
    except (Failed, OSError):
        path.unlink(missing_ok=True)
        raise
    backup = FullBackup(
        id=backup_id,
        system_id=system_id,
        timeline=timeline,
        # By the clock of the database, as the times of transactions in the WAL.
        started_at=before["now"],
        finished_at=after["now"],
        # It needs no WAL from before, and none from after.
        start_lsn=before["lsn"],
        stop_lsn=after["lsn"],
        first_segment=segment_of(before["lsn"], timeline, before["segment_bytes"]),
        segment_bytes=before["segment_bytes"],
        bytes=path.stat().st_size,
        server=before["version"],
    )
    archive.add(backup)
    log("full_backup_finished", id=backup_id, bytes=backup.bytes)
    return backup
