"""The state of the backups, from the file that the service `backup` writes (docs/operations.md, "Backups")."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from app.errors import N_, Message

_SILENCE = timedelta(minutes=1)
"""How long the file was not written, or WAL was not archived."""
_DELAY = timedelta(hours=2)
"""How long after its time a full backup, or its proof, is too old."""
_MAX_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """The state of the backups. The moments are None if it never happened, or the file is not readable.

    full_at: the newest full backup. proven_at: the newest proof that a backup can be restored.
    archived_at: all changes up to this moment can be restored.
    failures: what an operator has to repair. warnings: what is worth a change.
    """

    full_at: datetime | None = None
    proven_at: datetime | None = None
    archived_at: datetime | None = None
    failures: tuple[Message, ...] = ()
    warnings: tuple[Message, ...] = ()


def read_backup_status(path: str) -> BackupStatus | None:
    """The state in the file BACKUP_STATUS_FILE. None: `path` is empty, so nothing is known.

    A file that is missing or damaged is a failure in the result, not an exception.
    """
    if not path:
        return None
    try:
        found = _File.model_validate_json(Path(path).read_bytes())
    except FileNotFoundError:
        return BackupStatus(failures=(N_("There are no backups: the service backup has never run."),))
    except OSError as error:
        name = error.__class__.__name__
        return BackupStatus(failures=(N_("The status of the backups can't be read (%(error)s).", error=name),))
    except ValidationError:
        return BackupStatus(failures=(N_("The status of the backups is damaged."),))
    now = datetime.now(UTC)
    return BackupStatus(
        full_at=found.full.finished_at,
        proven_at=found.last_proven.finished_at,
        archived_at=found.wal.archived_at,
        failures=tuple(_failures(found, now)),
        warnings=(N_("The backups are on the disk of the database, and would be lost with it."),)
        if found.same_disk and not found.second_copy
        else (),
    )


class _Section(BaseModel):
    """The used fields of all sections."""

    archived_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    proven: bool = False
    reason: str | None = None
    error: str | None = None


class _File(BaseModel):
    """The used sections. Most are missing before the first full backup."""

    format: Literal[1]
    written_at: AwareDatetime
    same_disk: bool = False
    interval_h: int = 24
    wal: _Section = _Section()
    full: _Section = _Section()
    last_proven: _Section = _Section()
    failure: _Section | None = None
    verification: _Section | None = None
    second_copy: _Section | None = Field(default=None, alias="copy")


def _failures(found: _File, now: datetime) -> Iterator[Message]:
    silent_since = now - _SILENCE
    if found.written_at < silent_since:
        yield N_(
            "The service backup does not run: its status was written last at %(time)s.", time=_time(found.written_at)
        )
    elif found.wal.error:
        yield N_("Changes are not backed up: %(reason)s.", reason=_reason(found.wal.error))
    elif found.wal.archived_at is None or found.wal.archived_at < silent_since:
        yield N_("Changes have not been backed up for more than a minute.")
    if found.failure:
        yield N_("The last full backup failed: %(reason)s.", reason=_reason(found.failure.reason))
    oldest = now - timedelta(hours=found.interval_h) - _DELAY
    if found.verification and not found.verification.proven:
        yield N_("The last full backup is not proven: %(reason)s.", reason=_reason(found.verification.reason))
    elif found.last_proven.finished_at is None:
        yield N_("No full backup has been proven yet.")
    elif found.last_proven.finished_at < oldest:
        yield N_("The last proven backup is too old, of %(time)s.", time=_time(found.last_proven.finished_at))
    elif found.full.finished_at and found.full.finished_at < oldest:
        yield N_("The last full backup is too old, of %(time)s.", time=_time(found.full.finished_at))
    if found.second_copy and found.second_copy.error:
        yield N_("The copy in S3 failed: %(reason)s.", reason=_reason(found.second_copy.error))


def _reason(text: str | None) -> str:
    return " ".join((text or "?").split())[:_MAX_CHARACTERS].rstrip(".")


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
