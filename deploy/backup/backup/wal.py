"""Receives WAL over a replication slot, and copies it into the archive."""

import contextlib
import re
import shutil
import subprocess
from typing import Any

from backup.archive import HISTORY, PARTIAL, SEGMENT, SUFFIX, Archive
from backup.errors import Failed
from backup.programs import Database, pipeline, reason_of
from backup.settings import Settings
from backup.status import log

_STATUS_INTERVAL_S = 1
_SLOT = """
SELECT row_to_json(s) FROM (
  SELECT wal_status, safe_wal_size, active, coalesce(pg_current_wal_lsn() - restart_lsn, 0) AS kept_bytes
  FROM pg_replication_slots WHERE slot_name = :'slot'
) AS s
"""
_POSITION = """
SELECT json_build_object('written_lsn', max(r.write_lsn), 'current_lsn', pg_current_wal_lsn(),
  'lag_bytes', pg_current_wal_lsn() - max(r.write_lsn))
FROM pg_stat_replication AS r JOIN pg_replication_slots AS s ON s.active_pid = r.pid WHERE s.slot_name = :'slot'
"""


def identify(database: Database) -> tuple[str, int]:
    """The id of the database system, and its timeline. Raises: Failed"""
    command = ["psql", "-tAX", "-F", " ", "-d", "replication=1", "-c", "IDENTIFY_SYSTEM"]
    done = subprocess.run(command, capture_output=True, text=True, env=database.env, check=False)
    if done.returncode:
        raise Failed(reason_of("psql", done.stderr))
    system_id, timeline, *_ = done.stdout.split()
    return system_id, int(timeline)


class Receiver:
    """pg_receivewal, which writes WAL to the spool as the server writes it."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._process: subprocess.Popen[bytes] | None = None

    def slot(self) -> dict[str, Any] | None:
        """The state of the slot. None: there is none. Raises: Failed"""
        found: dict[str, Any] | None = self._database.json(_SLOT, slot=self._settings.slot)
        return found

    @property
    def is_running(self) -> bool:
        """Whether pg_receivewal runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start pg_receivewal. Without a slot that has its WAL, begin anew with a new slot. Raises: Failed"""
        slot = self.slot()
        if slot and slot["wal_status"] == "lost":
            log("slot_lost", slot=self._settings.slot)
            self._database.run("SELECT pg_drop_replication_slot(:'slot')", slot=self._settings.slot)
            slot = None
        if not slot:
            # pg_receivewal would continue after the files in the spool, but the server may have deleted that WAL.
            self.clear()
            self._run("--create-slot", "--if-not-exists")
        spool = ["--directory", str(self._settings.spool), "--status-interval", str(_STATUS_INTERVAL_S), "--no-loop"]
        command = ["pg_receivewal", "--slot", self._settings.slot, "--no-password", *spool]
        self._process = subprocess.Popen(command, env=self._database.env)
        log("receiver_started", slot=self._settings.slot)

    def stop(self) -> None:
        """Stop pg_receivewal, which first tells the server what it has."""
        if self._process and self.is_running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def clear(self) -> None:
        """Empty the spool, which belongs to another slot or timeline."""
        shutil.rmtree(self._settings.spool, ignore_errors=True)
        self._settings.spool.mkdir(parents=True)

    def position(self) -> dict[str, Any]:
        """What pg_receivewal has written, and how far it is behind. Raises: Failed"""
        return dict(self._database.json(_POSITION, slot=self._settings.slot))

    def _run(self, *words: str) -> None:
        pipeline(["pg_receivewal", "--slot", self._settings.slot, "--no-password", *words], env=self._database.env)


class WalArchiver:
    """Copies WAL from the spool into the archive, also the segment that is being written."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._spool = archive, archive.settings.spool
        self._last_partial: tuple[str, str | None] | None = None

    def copy(self, written_lsn: str | None) -> None:
        """Copy complete segments, which then leave the spool, and the incomplete one if it was written to.

        written_lsn: what was written before. Raises: Failed
        """
        # Listed before the complete ones: a segment is archived only after all segments before it.
        incomplete = list(self._spool.glob(f"*{PARTIAL}"))
        for path in sorted(self._spool.iterdir()):
            if SEGMENT.fullmatch(path.name) or HISTORY.fullmatch(path.name):
                self._archive.put_file(path, self._archive.wal / f"{path.name}{SUFFIX}")
                partial = self._archive.wal / f"{path.name}{PARTIAL}{SUFFIX}"
                partial.unlink(missing_ok=True)
                # The copy in S3 deletes it as well.
                self._archive.changed.add(partial)
                path.unlink()
        for path in incomplete:
            if (path.name, written_lsn) != self._last_partial:
                # It may be complete meanwhile. The next copy then has all of it.
                with contextlib.suppress(FileNotFoundError):
                    self._archive.put_file(path, self._archive.wal / f"{path.name}{SUFFIX}")
                    self._last_partial = (path.name, written_lsn)


class Archived:
    """Up to when all changes are archived."""

    def __init__(self) -> None:
        self._next: tuple[str, int] | None = None

    def progress(self, asked_at: str, current_lsn: str, archived_lsn: str | None) -> dict[str, str]:
        """The fields of the status that have changed.

        current_lsn: what the database had written at the time `asked_at`. archived_lsn: up to where it is archived;
        None: unknown.
        """
        if not archived_lsn:
            return {}
        fields = {"archived_lsn": archived_lsn}
        following = asked_at, lsn(current_lsn)
        # While the database writes, the archive never has all of it. It reaches the position of an earlier call.
        for at, position in (following, self._next or following):
            if lsn(archived_lsn) >= position:
                self._next = following
                return {**fields, "archived_at": at}
        self._next = self._next or following
        return fields


def lsn(text: str) -> int:
    """A position of WAL as a number of bytes."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_of(position: str, timeline: int, bytes_of_segment: int) -> str:
    """The name of the segment that has this position."""
    number = lsn(position) // bytes_of_segment
    per_file = 2**32 // bytes_of_segment
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


_BRANCH = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)


def branches(history: str) -> dict[int, str]:
    """The earlier timelines of a timeline history file, each with the position at which the next one begins."""
    return {int(timeline): position for timeline, position in _BRANCH.findall(history)}
