"""The folder .data: its lock, and the addresses of its running stack."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from embedded.identity import adopt
from embedded.lock import Lock
from embedded.processes import POLL_S


@dataclass(frozen=True)
class Addresses:
    """The addresses of the servers of a running stack, with passwords."""

    database_url: str
    redis_url: str


class State:
    """The folder of a stack. It is created if necessary; Git ignores it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700, parents=True)
            adopt(self.folder)
        (self.folder / ".gitignore").write_text("*\n")
        self.lock = Lock(self.folder / "lock")
        self._file = self.folder / "stack.json"

    def publish(self, addresses: Addresses) -> None:
        """Write the addresses for other commands."""
        self.withdraw()  # one that a killed run left may be another user's
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as text:
            json.dump(asdict(addresses), text)

    def withdraw(self) -> None:
        """Remove the addresses."""
        self._file.unlink(missing_ok=True)

    def published(self, wait_s: float) -> Addresses | None:
        """Return the addresses of the running stack. None: there are none after `wait_s`."""
        deadline = time.monotonic() + wait_s
        while True:
            try:
                return Addresses(**json.loads(self._file.read_text()))
            except (FileNotFoundError, json.JSONDecodeError):
                if time.monotonic() > deadline:
                    return None
                time.sleep(POLL_S)
