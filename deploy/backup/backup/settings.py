"""Settings from the environment, and the files with secrets."""

import os
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from backup.errors import Refused

_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_MIN_PASSWORD = 12
_MAX_ARCHIVE_S = 20
"""Others report changes that have not been archived for a minute. While the database writes, it takes two copies."""


def _number(name: str, default: int, maximum: int | None = None) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not 1 <= int(text) <= (maximum or int(text)):
        limits = f"from 1 to {maximum}" if maximum else "at least 1"
        raise Refused(f"{name} must be a whole number, {limits}")
    return int(text)


@dataclass(frozen=True)
class Settings:
    """Folders, secrets, and the schedule.

    archive_s: seconds between two copies of the WAL into the archive. interval_h: hours between two full backups.
    keep: how many full backups are kept.
    """

    archive: Path = Path("/backups")
    work: Path = Path("/var/lib/backup")
    status: Path = Path("/status/backup.json")
    secrets: Path = Path("/run/secrets")
    slot: str = "backup"
    role: str = "backup"
    interval_h: int = field(default_factory=lambda: _number("BACKUP_INTERVAL_H", 24))
    keep: int = field(default_factory=lambda: _number("BACKUP_KEEP", 7))
    archive_s: int = field(default_factory=lambda: _number("BACKUP_ARCHIVE_S", 5, _MAX_ARCHIVE_S))
    superuser: str = field(default_factory=lambda: os.environ.get("POSTGRES_USER") or "postgres")
    database: str = field(default_factory=lambda: os.environ.get("POSTGRES_DB") or "usersdb")
    host: str = field(default_factory=lambda: os.environ.get("PGHOST") or "db")

    @property
    def spool(self) -> Path:
        """Where pg_receivewal writes, unencrypted, until the archive has it."""
        return self.work / "spool"

    def own_file(self, name: str) -> Path:
        """A path in `work` that only this process uses: several containers have this volume."""
        return self.work / f"own-{socket.gethostname()}-{os.getpid()}-{name}"

    @property
    def lock(self) -> Path:
        """Held by the process that takes or proves a full backup."""
        return self.work / ".full.lock"

    @property
    def key(self) -> Path:
        """A file with the identities of the secret backup_key, one a line, as age reads them. Raises: Refused"""
        file = Path(tempfile.gettempdir()) / "backup-identities"
        text = "\n".join(self.identities()) + "\n"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            new = file.with_name(f"{file.name}-{os.getpid()}")
            new.touch(mode=0o600)
            new.write_text(text, encoding="utf-8")
            new.replace(file)
        return file

    def password(self, name: str = "backup_password") -> str:
        """A password from its file, without a byte order mark and a line end. Raises: Refused"""
        try:
            text = (self.secrets / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"The secret {name} can't be read") from error
        password = text.removeprefix(_MARK).removesuffix("\n").removesuffix("\r")
        if not password:
            raise Refused(f"The secret {name} is empty")
        return password

    def check_secrets(self) -> None:
        """Raises: Refused, which names each secret that is missing, empty or too short."""
        problems = []
        try:
            if len(self.password()) < _MIN_PASSWORD:
                problems.append(f"The secret backup_password has less than {_MIN_PASSWORD} characters")
        except Refused as error:
            problems.append(str(error))
        try:
            self.identities()
        except Refused as error:
            problems.append(str(error))
        if problems:
            raise Refused(". ".join(problems))

    def identities(self) -> list[str]:
        """The identities of age: backups are encrypted for the first one, and decrypted with any. Raises: Refused"""
        found = [word for word in self.password("backup_key").split() if word.startswith("AGE-SECRET-KEY-1")]
        if not found:
            raise Refused("The secret backup_key has no key that age-keygen made")
        return found
