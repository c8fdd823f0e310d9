"""One full backup: taken, proven, and old ones deleted."""

import time

from backup import copies, full, verify
from backup.archive import Archive, only_one
from backup.errors import Failed, Refused
from backup.programs import Database, live_database
from backup.settings import Settings
from backup.status import Status, now
from backup.wal import identify


def take_and_prove(settings: Settings) -> bool:
    """Take a full backup, prove it, and delete old ones. Returns whether it is proven. Raises: Failed"""
    status, database = Status(settings.status), live_database(settings)
    archive = Archive(settings, identify(database)[0])
    with only_one(settings.lock):
        began = time.monotonic()
        try:
            backup = full.take(archive, database, status)
        except (Failed, OSError) as error:
            # OSError: the disk is full, for example.
            status.write(failure={"at": now(), "reason": str(error)})
            raise
        taken = {"id": backup.id, "finished_at": backup.finished_at, "bytes": backup.bytes}
        status.write(full={**taken, "duration_s": round(time.monotonic() - began, 1)}, failure=None)
        return _prove(settings, archive, database)


def prove_newest(settings: Settings) -> bool:
    """Prove the newest full backup again. Returns whether it is proven. Raises: Failed, Refused"""
    database = live_database(settings)
    archive = Archive(settings, identify(database)[0])
    if not archive.full.is_dir() or not archive.backups():
        raise Refused("There is no full backup yet")
    with only_one(settings.lock):
        return _prove(settings, archive, database)


def _prove(settings: Settings, archive: Archive, database: Database) -> bool:
    status, backup = Status(settings.status), archive.backups()[-1]
    result = verify.prove(archive, backup, database, status)
    status.write(verification=result, **({"last_proven": result} if result["proven"] else {}))
    copy = copies.copy_of(settings)
    if copies.send_all(status, copy) and result["proven"]:
        unneeded = archive.unneeded(settings.keep, backup.id)
        # The copy first: what it could not delete is deleted the next time.
        if copies.report(status, copy, lambda: copy.delete(unneeded)):
            archive.delete(unneeded)
    status.write(kept=[{"id": kept.id, "finished_at": kept.finished_at} for kept in archive.backups()])
    return bool(result["proven"])
