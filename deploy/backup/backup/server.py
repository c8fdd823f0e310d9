"""Restores a full backup into a folder, and runs a server there that replays the WAL and then accepts queries."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.archive import SUFFIX, Archive, FullBackup
from backup.errors import Failed, Refused
from backup.programs import Command, Database, pipeline
from backup.status import log
from backup.wal import branches, lsn

_ENDED_EARLY = "recovery ended before configured recovery target was reached"
_POLL_S = 0.1


@dataclass(frozen=True)
class Target:
    """The state to restore: of a moment (None: the newest) on a timeline (None: the newest)."""

    moment: datetime | None = None
    timeline: int | None = None


def choose(archive: Archive, target: Target) -> FullBackup:
    """The newest full backup from which `target` can be restored. Raises: Refused, Failed"""
    moment = target.moment
    backups = [backup for backup in archive.backups() if moment is None or backup.finished <= moment]
    usable = _on_timeline(archive, backups, target.timeline)
    if not usable:
        first = min((backup.finished_at for backup in archive.backups()), default=None)
        since = f": the first backup was complete at {first}" if first else ""
        raise Refused(f"No backup can be restored to {moment or 'the newest state'}{since}")
    return usable[-1]


def _on_timeline(archive: Archive, backups: list[FullBackup], timeline: int | None) -> list[FullBackup]:
    """The backups that are part of the history of a timeline: others belong to states that were given up."""
    timelines = archive.timelines()
    wanted = timeline or max([*timelines, *(backup.timeline for backup in archive.backups())], default=1)
    earlier: dict[int, str] = {}
    if wanted in timelines:
        copy = archive.settings.own_file("history")
        archive.open_with(archive.wal / f"{timelines[wanted]}{SUFFIX}", ["tee", copy])
        earlier = branches(copy.read_text())
        copy.unlink()
    return [
        backup
        for backup in backups
        if backup.timeline == wanted
        or (backup.timeline in earlier and lsn(backup.stop_lsn) <= lsn(earlier[backup.timeline]))
    ]


def unpack(archive: Archive, backup: FullBackup, folder: Path) -> None:
    """Restore the files of a full backup into an empty folder, and verify their checksums. Raises: Failed"""
    archive.open_with(archive.file_of(backup), ["tar", "-x", "-C", folder])
    folder.chmod(0o700)
    pipeline(["pg_verifybackup", "--no-parse-wal", "--quiet", folder])


class Server:
    """A server on a restored folder. It listens on a socket only, for this user."""

    def __init__(self, archive: Archive, folder: Path, run: Path, target: Target) -> None:
        self._archive, self._folder, self._run, self._target = archive, folder, run, target
        self._log = run / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        settings = archive.settings
        self.database = Database({"PGHOST": str(run), "PGUSER": settings.superuser, "PGDATABASE": settings.database})

    def recover(self) -> None:
        """Replay the WAL up to the moment, or to its end, and accept queries on a new timeline. Raises: Failed"""
        (self._folder / "recovery.signal").touch()
        try:
            self._start(self._target.moment)
        except Failed:
            if self._target.moment is None or _ENDED_EARLY not in self._log.read_text(errors="replace"):
                raise
            # No transaction committed after the moment, so the end of the WAL is the state of the moment.
            log("recovery_target_after_last_commit", moment=self._target.moment.isoformat())
            self._start(None)

    def stop(self) -> None:
        """Stop it. The folder then has a clean shutdown."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def _start(self, moment: datetime | None) -> None:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(self._command(moment), stdout=output, stderr=output)
        while True:
            # It rejects connections until the recovery has ended.
            ready = subprocess.run(
                ["pg_isready", "-q", "-h", self._run], stdout=subprocess.DEVNULL, check=False
            ).returncode
            if ready == 0:
                return
            if self._process.poll() is not None:
                raise Failed(f"The restored server stopped: {self._reason()}")
            time.sleep(_POLL_S)

    def _command(self, moment: datetime | None) -> Command:
        access = self._run / "pg_hba.conf"
        access.write_text("local all all trust\n")
        archive = self._archive
        # Command-line options override the settings that the backup contains.
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._run),
            "hba_file": str(access),
            "ssl": "off",
            "archive_mode": "off",
            "shared_preload_libraries": "",
            "logging_collector": "off",
            "log_destination": "stderr",
            "hot_standby": "off",
            "shared_buffers": "64MB",
            "restore_command": f"fetch-wal {archive.wal} {archive.settings.key} %f %p",
            "recovery_target_time": moment.isoformat(sep=" ") if moment else "",
            "recovery_target_action": "promote",
            "recovery_target_timeline": str(self._target.timeline or "latest"),
        }
        return [
            "postgres",
            "-D",
            self._folder,
            *(word for key, value in options.items() for word in ("-c", f"{key}={value}")),
        ]

    def _reason(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if "FATAL" in line or "PANIC" in line or line.startswith("fetch-wal")]
        return " / ".join(telling[-3:]) or "without a message"


@contextmanager
def restored(archive: Archive, backup: FullBackup, folder: Path, target: Target) -> Iterator[Server]:
    """A server with the state of `target`, which ends with the context. Raises: Failed"""
    run = archive.settings.own_file("run")
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(mode=0o700)
    server = Server(archive, folder, run, target)
    try:
        unpack(archive, backup, folder)
        server.recover()
        yield server
    finally:
        server.stop()
        shutil.rmtree(run, ignore_errors=True)
