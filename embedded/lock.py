"""Locks a data folder, so that only one process uses it."""

import fcntl
import os
from pathlib import Path

from embedded.errors import AlreadyInUse
from embedded.identity import adopt


class Lock:
    """A file lock, which the kernel releases when its holder ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> None:
        """Acquire the lock, and write the id of this process into the file. No effect if it is held already.

        Raises: AlreadyInUse, at once, when another process has it; `holder` then returns its id.
        """
        if self._file is not None:
            return
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise AlreadyInUse(
                f"{self.path.parent} is in use by process {self.holder()}: stop that one first"
            ) from None
        adopt(self.path)
        os.truncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        self._file = file

    def free(self) -> None:
        """Release the lock. No effect if it is not held."""
        # The file stays. If it were removed, two processes could lock two files of the same name.
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def holder(self) -> str:
        """Return the process id that the last holder wrote, or "unknown"."""
        return self.path.read_text().strip() or "unknown"
