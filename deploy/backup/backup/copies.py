"""A second copy of the archive in S3, by rclone. Files are encrypted already.

The bucket, the endpoint and the region are settings; the secret backup_s3 has the access key and its secret.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from backup.archive import PARTIAL, SUFFIX
from backup.errors import Failed, Refused
from backup.programs import Command, pipeline
from backup.settings import Settings
from backup.status import Status, now

_OPTIONS = (
    *("--contimeout", "10s", "--timeout", "60s", "--low-level-retries", "2", "--retries", "1"),
    # A file that is replaced while it is being sent: the sent one is complete.
    "--local-no-check-updated",
)
_INCOMPLETE = f"*{PARTIAL}{SUFFIX}"


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
        """Send files of the archive, and delete those that the archive does not have any more. Raises: Failed"""
        deleted = []
        for path in paths:
            try:
                self._run("copyto", path, self._place(path))
            except Failed:
                # A complete segment replaces the incomplete one at any time.
                if path.exists():
                    raise
                deleted.append(path)
        self.delete(deleted)

    def send_all(self) -> None:
        """Send all files that the copy does not have. It deletes nothing. Raises: Failed"""
        excluded = ("--exclude", ".new-*", "--exclude", _INCOMPLETE)
        self._run("copy", *excluded, self._archive, self._place(self._archive))
        self.send(self._archive.rglob(_INCOMPLETE))

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete files, if they are there. Raises: Failed"""
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
        command: Command = ["rclone", "--log-level", "ERROR", *_OPTIONS, *words]
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


def send_all(status: Status, copy: Copy) -> bool:
    """Send all files that the copy does not have, and end its error. Returns whether it succeeded."""
    return report(status, copy, copy.send_all, error=None)


def report(status: Status, copy: Copy, action: Callable[[], None], **fields: None) -> bool:
    """Run an action on the copy, and write its result to the status, with `fields` after a success.

    Returns whether it succeeded. An error stays in the status until `send_all` succeeds: another process may have
    failed to send other files.
    """
    result: dict[str, str | None]
    try:
        action()
        result = {"sent_at": now(), **fields}
    except (Failed, OSError) as error:
        result = {"error": str(error)}
    if copy.is_there:
        status.change(lambda found: {**found, "copy": {**(found.get("copy") or {}), **result}})
    return result.get("error") is None


class Sender:
    """Sends files in the background, so that a slow S3 does not delay the archive."""

    def __init__(self, status: Status, copy: Copy) -> None:
        self._status, self._copy = status, copy
        self._thread: threading.Thread | None = None
        self._is_first = True

    def send(self, changed: set[Path]) -> None:
        """Send the files. Without effect while others are being sent.

        At first, and after an error, it sends all that the copy does not have: an earlier process may have failed to.
        """
        if self._thread and self._thread.is_alive():
            return
        files = sorted(changed)
        changed.clear()
        sends_all = self._is_first or bool((self._status.read().get("copy") or {}).get("error"))
        if self._copy.is_there and (files or sends_all):
            self._is_first = False
            self._thread = threading.Thread(target=self._send, args=(files, sends_all), daemon=True)
            self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait until nothing is being sent."""
        if self._thread:
            self._thread.join(timeout_s)

    def _send(self, files: list[Path], sends_all: bool) -> None:
        if sends_all:
            send_all(self._status, self._copy)
        else:
            report(self._status, self._copy, lambda: self._copy.send(files))
