"""The state of the backups, as the file of the service `backup` tells it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.ops.backup_status import BackupStatus, read_backup_status
from tests.support.backup_files import ago, good_status, write_status

_NOT_PROVEN = {"backup_id": "c", "finished_at": ago(hours=1), "proven": False, "reason": "The table users differs."}
_OLD = {"backup_id": "a", "finished_at": ago(hours=27), "proven": True, "reason": None}


def read(path: Path, **sections: Any) -> BackupStatus:
    found = read_backup_status(write_status(path, **sections))
    assert found is not None
    return found


def test_without_the_setting_nothing_is_known() -> None:
    assert read_backup_status("") is None


def test_good_backups_have_no_failures(tmp_path: Path) -> None:
    found = read(tmp_path / "status")
    written = json.loads((tmp_path / "status").read_text())
    assert (found.failures, found.warnings) == ((), ())
    assert found.full_at == datetime.fromisoformat(written["full"]["finished_at"])
    assert found.proven_at == datetime.fromisoformat(written["last_proven"]["finished_at"])
    assert found.archived_at == datetime.fromisoformat(written["wal"]["archived_at"])


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"written_at": ago(minutes=2)}, "does not run"),
        ({"wal": {"archived_at": ago(seconds=1), "error": "No space left"}}, "not backed up: No space left."),
        ({"wal": {"archived_at": ago(minutes=2), "error": None}}, "more than a minute"),
        ({"wal": {}}, "more than a minute"),
        (
            {"failure": {"at": ago(hours=1), "reason": "pg_basebackup: gone"}},
            "full backup failed: pg_basebackup: gone.",
        ),
        ({"verification": _NOT_PROVEN}, "not proven: The table users differs."),
        ({"verification": None, "last_proven": {}, "full": {}}, "No full backup has been proven yet"),
        ({"last_proven": _OLD}, "The last proven backup is too old"),
        ({"full": {"id": "a", "finished_at": ago(hours=27)}}, "The last full backup is too old"),
        ({"copy": {"sent_at": ago(hours=1), "error": "403"}}, "The copy in S3 failed: 403."),
    ],
)
def test_a_failure_is_named(tmp_path: Path, sections: dict[str, Any], expected: str) -> None:
    (failure,) = read(tmp_path / "status", **sections).failures
    assert expected in str(failure)


def test_a_reason_is_one_line_of_bounded_length(tmp_path: Path) -> None:
    reason = {"reason": "pg_basebackup: error:\n  too many words" + " again" * 500 + "\n"}
    (failure,) = read(tmp_path / "status", failure=reason).failures
    assert "error: too many words again again" in str(failure)
    assert len(str(failure)) < 350


def test_the_schedule_of_the_service_decides_what_is_old(tmp_path: Path) -> None:
    assert read(tmp_path / "status", last_proven=_OLD, interval_h=168).failures == ()


def test_backups_on_the_disk_of_the_database_are_a_warning(tmp_path: Path) -> None:
    (warning,) = read(tmp_path / "status", same_disk=True).warnings
    assert "on the disk of the database" in str(warning)
    assert read(tmp_path / "status", same_disk=True, copy={"sent_at": ago(hours=1), "error": None}).warnings == ()


def test_a_missing_file_is_a_failure(tmp_path: Path) -> None:
    found = read_backup_status(str(tmp_path / "status"))
    assert found is not None
    assert found.full_at is found.proven_at is found.archived_at is None
    assert [str(failure) for failure in found.failures] == ["There are no backups: the service backup has never run."]


def test_a_file_that_is_no_file_is_a_failure(tmp_path: Path) -> None:
    found = read_backup_status(str(tmp_path))
    assert found is not None
    assert "can't be read (IsADirectoryError)" in str(found.failures[0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        json.dumps(good_status())[:-9].encode(),
        json.dumps(good_status(format=2)).encode(),
        json.dumps(good_status(full=[])).encode(),
        json.dumps(good_status(written_at="yesterday")).encode(),
        json.dumps(good_status(written_at="2026-11-30T10:00:00")).encode(),
        json.dumps(good_status(wal={"error": {}})).encode(),
    ],
)
def test_a_damaged_file_is_a_failure(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status").write_bytes(content)
    found = read_backup_status(str(tmp_path / "status"))
    assert found is not None
    assert [str(failure) for failure in found.failures] == ["The status of the backups is damaged."]
