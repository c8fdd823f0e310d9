"""The archive: encrypted files in the folder of one database system, and which of them are still needed."""

import contextlib
import fcntl
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from backup.errors import Failed, Refused
from backup.programs import Command, pipeline
from backup.settings import Settings
from backup.status import log

SUFFIX = ".zst.age"
PARTIAL = ".partial"
SEGMENT = re.compile(r"[0-9A-F]{24}")
HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_EVENTS = "events.json"


@dataclass(frozen=True)
class FullBackup:
    """One full backup. Times are ISO 8601 in UTC, positions are those of PostgreSQL (LSN)."""

    id: str
    system_id: str
    timeline: int
    started_at: str
    finished_at: str
    start_lsn: str
    stop_lsn: str
    first_segment: str
    segment_bytes: int
    bytes: int
    server: str

    @property
    def finished(self) -> datetime:
        """When the backup was complete. An earlier moment can't be restored from it."""
        return datetime.fromisoformat(self.finished_at)


class Archive:
    """The backups of one database system, in files of zstd in age."""

    def __init__(self, settings: Settings, system_id: str) -> None:
        self.settings, self.system_id = settings, system_id
        self.folder = settings.archive / system_id
        self.full, self.wal = self.folder / "full", self.folder / "wal"
        self.changed: set[Path] = set()
        """Files that were written since the copy in S3 was sent."""

    def create(self) -> None:
        """Create its folders, and delete what was not finished."""
        for folder in (self.full, self.wal):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".new-*"):
                left.unlink()

    # --- files -------------------------------------------------------------------------------

    def put(self, path: Path, *producers: Command, stdin: IO[bytes] | None = None, env: Any = None) -> None:
        """Write the output of `producers`, or else stdin, to `path`, which appears when it is complete and on disk.

        Raises: Failed
        """
        new = path.with_name(f".new-{path.name}")
        try:
            with new.open("wb") as file:
                encrypt: Command = ["age", "--encrypt", "--recipient", self._recipient()]
                pipeline(*producers, ["zstd", "-q", "-c"], encrypt, stdin=stdin, stdout=file, env=env)
                os.fsync(file.fileno())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        _sync(path.parent)
        self.changed.add(path)

    def put_file(self, source: Path, path: Path) -> None:
        """Write a copy of the file `source` to `path`. Raises: Failed"""
        with source.open("rb") as file:
            self.put(path, stdin=file)

    def open_with(self, path: Path, *consumers: Command) -> None:
        """Decrypt `path` into the programs `consumers`. Raises: Failed"""
        decrypt: Command = ["age", "--decrypt", "--identity", self.settings.key, path]
        pipeline(decrypt, ["zstd", "-q", "-d", "-c"], *consumers)

    def _recipient(self) -> str:
        identity = self.settings.identities()[0]
        done = subprocess.run(["age-keygen", "-y"], input=identity, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed("age-keygen: the first key of the secret backup_key is damaged")
        return done.stdout.strip()

    # --- what it has -------------------------------------------------------------------------

    def backups(self) -> list[FullBackup]:
        """The complete full backups, oldest first."""
        found = [FullBackup(**json.loads(path.read_text())) for path in self.full.glob("*.json")]
        return sorted(found, key=lambda backup: backup.id)

    def file_of(self, backup: FullBackup) -> Path:
        """The file of a full backup."""
        return self.full / f"{backup.id}.tar{SUFFIX}"

    def add(self, backup: FullBackup) -> None:
        """Make a full backup, whose file is there, part of the archive."""
        new = self.full / f".new-{backup.id}.json"
        new.write_text(json.dumps(asdict(backup), indent=1))
        new.replace(self.full / f"{backup.id}.json")
        _sync(self.full)

    def segments(self) -> list[str]:
        """The names of the archived WAL segments, complete or not."""
        return sorted({match[0] for path in self.wal.iterdir() if (match := SEGMENT.match(path.name))})

    def missing_segment(self) -> str | None:
        """The first segment that is missing after the newest full backup, so that nothing later can be restored.

        The last one may be incomplete: it is the segment that is being written.
        """
        backups = self.backups()
        if not backups:
            return None
        expected, size = backups[-1].first_segment, backups[-1].segment_bytes
        files = {path.name for path in self.wal.iterdir()}
        segments = {name[:24] for name in files if SEGMENT.match(name)}
        later = sorted(name for name in segments if name[:8] == expected[:8] and name >= expected)
        for name in later:
            if name != expected or (name != later[-1] and f"{name}{SUFFIX}" not in files):
                return expected
            expected = next_segment(expected, size)
        return None

    def timelines(self) -> dict[int, str]:
        """The timelines whose history files are in the archive, by number."""
        found = (HISTORY.match(path.name) for path in self.wal.iterdir())
        return {int(match[1], 16): match[0] for match in found if match}

    # --- events since the backups --------------------------------------------------------------

    def read_events(self) -> dict[str, Any]:
        """What `events` has written; empty at first. Raises: Failed"""
        path = self.folder / f"{_EVENTS}{SUFFIX}"
        if not path.exists():
            return {}
        copy = self.settings.own_file("events")
        try:
            self.open_with(path, ["tee", copy])
            return dict(json.loads(copy.read_text()))
        finally:
            copy.unlink(missing_ok=True)

    def set_events_aside(self) -> None:
        """Rename the events, which can't be read, so that new ones can be written."""
        path = self.folder / f"{_EVENTS}{SUFFIX}"
        path.replace(path.with_name(f"unreadable-{path.stat().st_mtime_ns}-{path.name}"))

    def write_events(self, events: dict[str, Any]) -> None:
        """Replace the events. Raises: Failed"""
        copy = self.settings.own_file("new-events")
        copy.write_text(json.dumps(events))
        self.put_file(copy, self.folder / f"{_EVENTS}{SUFFIX}")
        copy.unlink()

    # --- retention ---------------------------------------------------------------------------

    def unneeded(self, keep: int, proven: str) -> list[Path]:
        """Full backups but the newest `keep` and the proven one, and WAL that none of them needs."""
        backups = self.backups()
        kept = [backup for backup in backups if backup in backups[-keep:] or backup.id == proven]
        ids = {backup.id for backup in kept}
        # Also what an interrupted backup has left.
        found = [path for path in self.full.iterdir() if path.name.partition(".")[0] not in ids]
        # Without the timeline: positions increase over all timelines.
        oldest = min(backup.first_segment[8:] for backup in kept)
        for segment in self.segments():
            if segment[8:] < oldest:
                # The copy in S3 may have both.
                found += [self.wal / f"{segment}{SUFFIX}", self.wal / f"{segment}{PARTIAL}{SUFFIX}"]
        return found

    def delete(self, paths: list[Path]) -> None:
        """Delete files that are there."""
        for path in paths:
            path.unlink(missing_ok=True)
        log("old_files_deleted", count=len(paths))


def next_segment(name: str, segment_bytes: int) -> str:
    """The name of the segment after this one."""
    per_file = 2**32 // segment_bytes
    number = int(name[8:16], 16) * per_file + int(name[16:], 16) + 1
    return f"{name[:8]}{number // per_file:08X}{number % per_file:08X}"


def all_archives(settings: Settings) -> list[Archive]:
    """The archives of all databases, for example of the one before an upgrade of PostgreSQL."""
    return [Archive(settings, path.parent.name) for path in sorted(settings.archive.glob("*/full"))]


def find_archive(settings: Settings) -> Archive:
    """The archive to restore: that of BACKUP_SYSTEM, or else the only one. Raises: Refused"""
    wanted = os.environ.get("BACKUP_SYSTEM")
    found = [archive for archive in all_archives(settings) if wanted in {archive.system_id, None, ""}]
    if not found:
        raise Refused(f"There are no backups in {settings.archive}")
    if len(found) > 1:
        names = ", ".join(archive.system_id for archive in found)
        raise Refused(f"There are backups of several databases: set BACKUP_SYSTEM to one of {names}")
    return found[0]


@contextlib.contextmanager
def only_one(file: Path) -> Iterator[None]:
    """Wait until no other process holds `file`, and hold it."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_held(file: Path) -> bool:
    """Whether a process holds `file`."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
