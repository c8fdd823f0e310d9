"""The status file: what metrics, the console and `flask doctor` read about the backups.

One JSON object. Sections are written by several processes, each its own. docs/operations.md lists the fields.
"""

import fcntl
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FORMAT = 1


def now() -> str:
    """The time in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def log(event: str, **fields: Any) -> None:
    """Write a line of JSON to standard output."""
    print(json.dumps({"at": now(), "event": event, **fields}), flush=True)


class Status:
    """The status file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        """All sections. Empty before the first start."""
        try:
            return dict(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            print(f"The status is not readable and begins anew: {error}", file=sys.stderr)
            return {}

    def write(self, **sections: Any) -> None:
        """Replace sections, and keep the others."""
        self.change(lambda status: status | sections)

    def change(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Replace the content by what `change` makes of it, at once for all readers."""
        with self._path.with_name(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = self._path.with_name(".new-status")
            new.write_text(json.dumps({**change(self.read()), "format": FORMAT, "written_at": now()}, indent=1))
            new.chmod(0o644)
            new.replace(self._path)
