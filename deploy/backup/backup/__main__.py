"""`backup COMMAND`. An error is one sentence on standard error, and exit status 1."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup import job, restore, role, service, verify
from backup.archive import all_archives
from backup.errors import Failed, NotProven, Refused
from backup.programs import live_database
from backup.server import Target
from backup.settings import Settings
from backup.status import Status

_FRESH = timedelta(minutes=1)
_Command = Callable[[Settings, argparse.Namespace], bool | None]
"""It returns False if it has found a fault."""


def main() -> int:
    """Run a command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="backup", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, (help_text, command) in _COMMANDS.items():
        commands.add_parser(name, help=help_text).set_defaults(command=command)
    words = commands.choices["restore"]
    words.add_argument("moment", nargs="?", default="", help="2026-11-30T10:00:00Z; without it, the newest state")
    words.add_argument("--timeline", type=int, help="of the moment, if an earlier restore began a newer one")
    words.add_argument("--into", type=Path, default=Path("/var/lib/postgresql/data"))
    arguments = parser.parse_args()
    try:
        return arguments.command(Settings(), arguments) is False
    except (Refused, Failed, NotProven, OSError) as error:
        # OSError: a folder that this user can't write to, or a full disk.
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _serve(settings: Settings, _: argparse.Namespace) -> None:
    settings.check_secrets()
    service.Service(settings).run()


def _now(settings: Settings, _: argparse.Namespace) -> bool:
    settings.check_secrets()
    return job.take_and_prove(settings)


def _verify(settings: Settings, _: argparse.Namespace) -> bool:
    settings.check_secrets()
    return job.prove_newest(settings)


def _flush(settings: Settings, _: argparse.Namespace) -> None:
    verify.await_archive(live_database(settings), Status(settings.status))


def _list(settings: Settings, _: argparse.Namespace) -> None:
    for archive in all_archives(settings):
        for backup in archive.backups():
            what = f"{backup.bytes} bytes  timeline {backup.timeline}  database {backup.system_id}"
            print(f"{backup.id}  {backup.finished_at}  {what}")


def _status(settings: Settings, _: argparse.Namespace) -> None:
    print(json.dumps(Status(settings.status).read(), indent=1))


def _healthy(settings: Settings, _: argparse.Namespace) -> bool:
    wal = Status(settings.status).read().get("wal", {})
    copied_at = wal.get("archived_at")
    return bool(copied_at) and not wal.get("error") and datetime.now(UTC) - datetime.fromisoformat(copied_at) < _FRESH


def _role(settings: Settings, _: argparse.Namespace) -> None:
    settings.check_secrets()
    role.create(settings)


def _restore(settings: Settings, arguments: argparse.Namespace) -> None:
    settings.check_secrets()
    target = Target(restore.moment_of(arguments.moment), arguments.timeline)
    print(restore.restore(settings, arguments.into, target).text())


_COMMANDS: dict[str, tuple[str, _Command]] = {
    "serve": ("stream WAL, and take and prove full backups on schedule", _serve),
    "now": ("take and prove a full backup; exit 1 if it is not proven", _now),
    "verify": ("prove the newest full backup again; exit 1 if it is not proven", _verify),
    "flush": ("wait until the archive has all that the database has written", _flush),
    "list": ("list the full backups", _list),
    "status": ("print the status file", _status),
    "healthy": ("exit 0 if WAL was copied within the last minute", _healthy),
    "role": ("create the role of the backups, as the superuser", _role),
    "restore": ("restore into the empty volume of the database", _restore),
}

if __name__ == "__main__":
    sys.exit(main())
