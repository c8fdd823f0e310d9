"""Restores a backup into the empty volume of the database, to the newest state or to a moment."""

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backup import post_restore
from backup.archive import find_archive
from backup.copies import copy_of
from backup.errors import Refused
from backup.events import Event
from backup.programs import Database
from backup.server import Target, choose, restored
from backup.settings import Settings
from backup.status import log


@dataclass(frozen=True)
class Report:
    """What was restored, and what an administrator has to look at."""

    backup_id: str
    moment: str | None
    newest_history: Any
    purged_again: list[str]
    valid_again: dict[str, Any]

    def text(self) -> str:
        """The report for a person."""
        lines = [
            f"Restored the backup {self.backup_id} and the WAL after it, to {self.moment or 'the newest state'}.",
            f"The newest entry of the history: {json.dumps(self.newest_history)}",
            "All sessions have ended.",
            f"Purged again, because they were purged after this state: {', '.join(self.purged_again) or 'none'}",
        ]
        for name, heading in (
            ("tokens", "Tokens that were revoked after this state, and are valid again (flask tokens revoke ID)"),
            ("passwords", "Users whose password was changed after this state: the former password is valid again"),
            ("deactivated", "Users who were deactivated after this state, and are active again"),
            ("deleted", "Users who were moved to the trash after this state, and are back"),
            ("roles", "Users whose role was changed after this state: they have the former role"),
        ):
            lines.append(f"{heading}:")
            lines += [f"  {_line(item)}" for item in self.valid_again[name]] or ["  none"]
        return "\n".join(lines)


def restore(settings: Settings, folder: Path, target: Target) -> Report:
    """Restore into `folder`, which is empty or is created. Raises: Refused, Failed"""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Refused("The volume of the database is not empty. See docs/operations.md, Restore")
    # Before the long work: it is needed at the end.
    settings.password("postgres_password")
    copy_of(settings).fetch()
    archive = find_archive(settings)
    backup = choose(archive, target)
    moment = target.moment.isoformat() if target.moment else None
    events = archive.read_events().get("events", [])
    log("restore_started", backup=backup.id, moment=moment)
    settings.work.mkdir(parents=True, exist_ok=True)
    try:
        with restored(archive, backup, folder, target) as server:
            report = _complete(settings, server.database, backup.id, moment, events)
    except BaseException:
        # Nobody must start what is not complete, and the restore can be repeated.
        _empty(folder)
        raise
    log("restore_finished", backup=backup.id)
    return report


def _complete(
    settings: Settings, database: Database, backup_id: str, moment: str | None, events: list[Event]
) -> Report:
    """Do what a restored database needs before the service may use it. Raises: Refused, Failed"""
    newest = database.json(
        "SELECT row_to_json(h) FROM (SELECT id, created_at, action FROM history ORDER BY id DESC LIMIT 1) AS h"
    )
    later = post_restore.later_events(database, events)
    report = Report(
        backup_id=backup_id,
        moment=moment,
        newest_history=newest,
        purged_again=post_restore.repeat_purges(database, later),
        valid_again=post_restore.valid_again(database, later),
    )
    post_restore.end_sessions(database)
    post_restore.set_password(database, settings.superuser, settings.password("postgres_password"))
    post_restore.set_password(database, settings.role, settings.password())
    return report


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def moment_of(text: str) -> datetime | None:
    """The moment of an argument; None for an empty one. Raises: Refused"""
    if not text.strip():
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Refused(f"{text!r} is no time: write it as 2026-11-30T10:00:00Z") from error
    if moment.tzinfo is None:
        raise Refused(f"{text!r} has no time zone: write it as 2026-11-30T10:00:00Z or 2026-11-30T11:00:00+01:00")
    return moment


def _line(item: dict[str, Any]) -> str:
    return "  ".join(str(item[name]) for name in ("id", "username", "name", "role") if name in item)
