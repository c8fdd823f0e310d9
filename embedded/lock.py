"""Owns the promise that a folder of data has one user at a time."""

import fcntl
import os
from pathlib import Path

from embedded.errors import AlreadyInUse
from embedded.identity import adopt


class Lock:
    """A lock on a file that the kernel gives back when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock and write this process's id into the file; twice is once.

        Raises: AlreadyInUse, at once, when somebody else has it; `holder` then says who.
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
        """Give the lock back; without effect when it is not held."""
        # The file stays: to remove it would let two others lock two files of one name.
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def holder(self) -> str:
        """Return the process id that the last holder wrote, or "unknown"."""
        return self.path.read_text().strip() or "unknown"
