"""A second copy of the archive in S3, by rclone. Files are encrypted already.

The bucket, the endpoint and the region are settings; the secret backup_s3 has the access key and its secret.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from backup.errors import Failed, Refused
from backup.programs import Command, pipeline
from backup.settings import Settings
from backup.status import Status, now

_PATIENCE = ("--contimeout", "10s", "--timeout", "60s", "--low-level-retries", "2", "--retries", "1")


class Copy:
    """The copy in S3."""

    is_there = True

    def __init__(self, settings: Settings, bucket: str) -> None:
        words = settings.password("backup_s3").split()
        if len(words) != 2:  # noqa: PLR2004
            raise Refused(
                "The secret backup_s3 must have the access key and its secret, separated by a blank or a line"
            )
        self._archive, self._bucket = settings.archive, bucket.removeprefix("s3://").strip("/")
        self._env = {
            **os.environ,
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_COPY_TYPE": "s3",
            "RCLONE_CONFIG_COPY_PROVIDER": os.environ.get("BACKUP_S3_PROVIDER") or "Other",
            "RCLONE_CONFIG_COPY_ENDPOINT": os.environ.get("BACKUP_S3_ENDPOINT") or "",
            "RCLONE_CONFIG_COPY_REGION": os.environ.get("BACKUP_S3_REGION") or "",
            "RCLONE_CONFIG_COPY_ACCESS_KEY_ID": words[0],
            "RCLONE_CONFIG_COPY_SECRET_ACCESS_KEY": words[1],
            # The bucket exists. A key that may only write into it can't ask for it.
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
        }

    def send(self, paths: Iterable[Path]) -> None:
        """Send files of the archive. Raises: Failed"""
        for path in paths:
            if path.exists():
                self._run("copyto", path, self._place(path))

    def send_all(self) -> None:
        """Send all files that the copy does not have. It deletes nothing. Raises: Failed"""
        self._run("copy", "--exclude", ".new-*", self._archive, self._place(self._archive))

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete files that the archive has deleted. Raises: Failed"""
        names = "".join(f"{path.relative_to(self._archive)}\n" for path in paths)
        if names:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(names)
                file.flush()
                self._run("delete", "--files-from", file.name, self._place(self._archive))

    def fetch(self) -> None:
        """Fetch the whole copy into the archive. Raises: Failed"""
        self._run("copy", self._place(self._archive), self._archive)

    def _place(self, path: Path) -> str:
        name = path.relative_to(self._archive)
        return f"copy:{self._bucket}" if path == self._archive else f"copy:{self._bucket}/{name}"

    def _run(self, *words: str | Path) -> None:
        command: Command = ["rclone", "--log-level", "ERROR", *_PATIENCE, *words]
        pipeline(command, env=self._env)


class NoCopy(Copy):
    """No copy: the archive is all there is."""

    is_there = False

    def __init__(self) -> None:
        """It needs no settings."""

    def send(self, paths: Iterable[Path]) -> None:
        """Nothing."""

    def send_all(self) -> None:
        """Nothing."""

    def delete(self, paths: Iterable[Path]) -> None:
        """Nothing."""

    def fetch(self) -> None:
        """Nothing."""


def copy_of(settings: Settings) -> Copy:
    """The copy that the settings name. Raises: Refused"""
    bucket = os.environ.get("BACKUP_S3_BUCKET") or ""
    return Copy(settings, bucket) if bucket else NoCopy()


def report(status: Status, copy: Copy, action: Callable[[], None]) -> bool:
    """Run an action on the copy, and write its result to the status. Returns whether it succeeded."""
    try:
        action()
    except Failed as error:
        problem = {"error": str(error)}
        status.change(lambda found: {**found, "copy": {**(found.get("copy") or {}), **problem}})
        return False
    if copy.is_there:
        status.write(copy={"sent_at": now(), "error": None})
    return True


class Sender:
    """Sends files in the background, so that a slow S3 does not delay the archive."""

    def __init__(self, status: Status, copy: Copy) -> None:
        self._status, self._copy = status, copy
        self._thread: threading.Thread | None = None
        self._failed: list[Path] = []

    def send(self, changed: set[Path]) -> None:
        """Send the files, and those that could not be sent before. Without effect while others are being sent."""
        if self._thread and self._thread.is_alive():
            return
        files = sorted({*changed, *self._failed})
        changed.clear()
        if self._copy.is_there and files:
            self._failed = files
            self._thread = threading.Thread(target=self._send, args=(files,), daemon=True)
            self._thread.start()

    def finish(self, patience_s: float) -> None:
        """Wait until nothing is being sent."""
        if self._thread:
            self._thread.join(patience_s)

    def _send(self, files: list[Path]) -> None:
        if report(self._status, self._copy, lambda: self._copy.send(files)):
            self._failed = []
