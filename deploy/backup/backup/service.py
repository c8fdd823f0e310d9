"""The service: streams WAL into the archive, and takes and proves full backups on schedule."""

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backup import copies
from backup.archive import Archive, is_held
from backup.errors import Failed
from backup.events import Events
from backup.programs import live_database
from backup.settings import Settings
from backup.status import Status, log, now
from backup.wal import Archived, Receiver, WalArchiver, identify

_RETRY = timedelta(minutes=10)
_WAIT_S = 1.0
_LAST_SEND_S = 8.0
_HAS_TABLES = "SELECT to_json(to_regclass('history') IS NOT NULL)"


@dataclass(frozen=True)
class _OpenArchive:
    """The archive of the database that was found."""

    archive: Archive
    timeline: int
    archiver: WalArchiver
    archived: Archived
    events: Events


class Service:
    """One process. A full backup is taken by another one (`backup now`), so that WAL is copied meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stopping = settings, threading.Event()
        self._status, self._database = Status(settings.status), live_database(settings)
        self._copy = copies.copy_of(settings)
        self._sender = copies.Sender(self._status, self._copy)
        self._receiver = Receiver(settings, self._database)
        self._child: subprocess.Popen[bytes] | None = None
        self._tried_at: datetime | None = None

    def run(self) -> None:
        """Serve until SIGTERM."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        for left in self._settings.work.glob("own-*"):
            shutil.rmtree(left, ignore_errors=True)
            left.unlink(missing_ok=True)
        fields = {"same_disk": self._is_same_disk(), "interval_h": self._settings.interval_h}
        self._status.write(service={"started_at": now()}, **fields)
        if not self._copy.is_there:
            # What a former setting has left would hide that the backups are on the disk of the database.
            self._status.write(copy=None)
        opened = self._connect()
        while opened and not self._stopping.is_set():
            try:
                if not self._receiver.is_running:
                    # The database was unavailable, and may be another one now.
                    opened = self._open(opened)
                    self._receiver.start()
                missing = self._archive_wal(opened)
                self._start_full(opened, is_due=missing is not None)
            except (Failed, OSError) as error:
                self._report(str(error))
            self._stopping.wait(self._settings.archive_s)
        self._stop(opened)

    def _connect(self) -> _OpenArchive | None:
        """Wait for the database and its tables. None: the service stops."""
        while not self._stopping.is_set():
            try:
                if self._database.json(_HAS_TABLES):
                    return self._open()
                self._report("The database has no tables of the service yet")
            except Failed as error:
                self._report(str(error))
            self._stopping.wait(_WAIT_S)
        return None

    def _open(self, before: _OpenArchive | None = None) -> _OpenArchive:
        """The archive of the database; `before` if it is the same. Raises: Failed"""
        system_id, timeline = identify(self._database)
        if before and (before.archive.system_id, before.timeline) == (system_id, timeline):
            return before
        archive = Archive(self._settings, system_id)
        archive.create()
        marker, present = self._settings.work / "timeline", f"{system_id} {timeline}"
        self._settings.spool.mkdir(exist_ok=True)
        if marker.exists() and marker.read_text() != present:
            # Another database, or one that was restored: its WAL is another.
            self._receiver.clear()
        marker.write_text(present)
        return _OpenArchive(archive, timeline, WalArchiver(archive), Archived(), Events(archive, timeline))

    def _archive_wal(self, opened: _OpenArchive) -> str | None:
        """Copy what was received since the last time. Returns the first missing segment. Raises: Failed"""
        asked_at, position = now(), self._receiver.position()
        opened.archiver.copy(position["written_lsn"])
        archived = opened.archived.progress(asked_at, position["current_lsn"], position["written_lsn"])
        events, missing = opened.events.poll(self._database), opened.archive.missing_segment()
        error = f"The segment {missing} of WAL is missing, so a full backup is due" if missing else None
        slot, system_id = self._receiver.slot(), opened.archive.system_id
        self._status.change(
            lambda status: {
                **status,
                "slot": slot,
                "events": events,
                "system_id": system_id,
                "wal": {**status.get("wal", {}), **position, **archived, "error": error},
            }
        )
        self._sender.send(opened.archive.changed)
        return missing

    def _start_full(self, opened: _OpenArchive, *, is_due: bool) -> None:
        """Start a full backup if it is due or needed, and none is being taken."""
        if self._child:
            if self._child.poll() is None:
                return
            self._child = None
            opened.events.prune()
        moment = datetime.now(UTC)
        if self._tried_at and moment < self._tried_at + _RETRY:
            return
        if (is_due or self._is_needed(opened, moment)) and not is_held(self._settings.lock):
            self._tried_at = moment
            self._child = subprocess.Popen([sys.executable, "-m", "backup", "now"])

    def _is_needed(self, opened: _OpenArchive, moment: datetime) -> bool:
        backups, oldest = opened.archive.backups(), moment - timedelta(hours=self._settings.interval_h)
        if not backups or backups[-1].finished < oldest or backups[-1].timeline != opened.timeline:
            return True
        verification = self._status.read().get("verification") or {}
        return not (verification.get("proven") and verification.get("backup_id") == backups[-1].id)

    def _report(self, problem: str) -> None:
        def change(status: dict[str, Any]) -> dict[str, Any]:
            wal = status.get("wal", {})
            if wal.get("error") != problem:
                log("problem", reason=problem)
            return {**status, "wal": {**wal, "error": problem}}

        self._status.change(change)

    def _is_same_disk(self) -> bool:
        """Whether the archive is on the disk of Docker's volumes, which has the database, too."""
        return self._settings.archive.stat().st_dev == self._settings.work.stat().st_dev

    def _stop(self, opened: _OpenArchive | None) -> None:
        """Archive what was received last, and end the processes."""
        self._receiver.stop()
        if opened:
            with contextlib.suppress(Failed, OSError):
                opened.archiver.copy(None)
                self._sender.finish(_LAST_SEND_S)
                self._sender.send(opened.archive.changed)
                self._sender.finish(_LAST_SEND_S)
        if self._child and self._child.poll() is None:
            self._child.terminate()
            self._child.wait()
