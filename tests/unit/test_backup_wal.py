"""What the service `backup` says about the archived WAL."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.backup_program import backup_modules

_FULL = {
    "id": "a",
    "system_id": "7",
    "timeline": 1,
    "started_at": "",
    "finished_at": "",
    "start_lsn": "0/0",
    "stop_lsn": "0/0",
    "first_segment": f"{1:08X}{5:016X}",
    "segment_bytes": 16 * 2**20,
    "bytes": 1,
    "server": "16",
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    modules = backup_modules(monkeypatch, "archive", "settings")
    made = modules.archive.Archive(modules.settings.Settings(archive=tmp_path), "7")
    made.create()
    (made.full / "a.json").write_text(json.dumps(_FULL))
    return made


def test_the_full_backups_of_all_databases_are_listed(
    archive: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an upgrade of PostgreSQL the archive has two."""
    later = backup_modules(monkeypatch, "archive").archive.Archive(archive.settings, "8")
    later.create()
    (later.full / "b.json").write_text(json.dumps({**_FULL, "id": "b", "system_id": "8"}))
    commands = backup_modules(monkeypatch, "__main__")
    monkeypatch.setattr("sys.argv", ["backup", "list"])
    monkeypatch.setattr(vars(commands)["__main__"], "Settings", lambda: archive.settings)
    assert vars(commands)["__main__"].main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [("a", "7"), ("b", "8")]


def segment(number: int) -> str:
    return f"{1:08X}{number:016X}"


def write(archive: Any, *names: str) -> None:
    for name in names:
        (archive.wal / f"{name}.zst.age").touch()


def test_the_segment_that_is_being_written_is_not_missing(archive: Any) -> None:
    assert archive.missing_segment() is None
    write(archive, segment(4), segment(5), segment(6), f"{segment(7)}.partial")
    assert archive.missing_segment() is None


def test_a_segment_between_others_is_missing(archive: Any) -> None:
    write(archive, segment(5), segment(7))
    assert archive.missing_segment() == segment(6)


def test_an_incomplete_segment_before_others_is_missing(archive: Any) -> None:
    """A slot that has lost its WAL is replaced by one that begins later."""
    write(archive, segment(5), f"{segment(6)}.partial", segment(7))
    assert archive.missing_segment() == segment(6)


def test_no_segment_is_archived_before_the_one_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL completes a segment, and begins the next one, while an earlier one is copied."""
    spool, copied = tmp_path / "spool", list[str]()
    spool.mkdir()
    for name in (segment(1), f"{segment(2)}.partial"):
        (spool / name).touch()

    def put_file(source: Path, target: Path) -> None:
        source.read_bytes()
        copied.append(target.name.removesuffix(".zst.age"))
        if source.name == segment(1):
            (spool / f"{segment(2)}.partial").rename(spool / segment(2))
            (spool / f"{segment(3)}.partial").touch()

    settings = SimpleNamespace(spool=spool)
    archive = SimpleNamespace(settings=settings, wal=tmp_path, changed=set(), put_file=put_file)
    archiver = backup_modules(monkeypatch, "wal").wal.WalArchiver(archive)
    archiver.copy("0/1")
    archiver.copy("0/2")
    assert copied == [segment(1), segment(2), f"{segment(3)}.partial"]


def test_wal_is_archived_up_to_the_time_at_which_the_database_had_written_it(monkeypatch: pytest.MonkeyPatch) -> None:
    archived = backup_modules(monkeypatch, "wal").wal.Archived()

    def at(time: str, current: str, written: str | None) -> Any:
        return archived.progress(time, current, written).get("archived_at")

    assert at("10:00", "0/500", None) is None
    assert at("10:01", "0/500", "0/500") == "10:01"
    # While the database writes, the archive is always a little behind.
    assert at("10:02", "0/600", "0/550") == "10:01"
    assert at("10:03", "0/700", "0/650") == "10:02"
    assert at("10:04", "0/800", "0/660") is None
    assert at("10:05", "0/900", "0/670") is None
    assert at("10:06", "1/0", "0/700") == "10:03"
    assert at("10:07", "1/0", "1/0") == "10:07"


@pytest.mark.parametrize("value", ["0", "21", "5s", "-1"])
def test_wal_is_archived_often_enough_for_the_alerts(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = backup_modules(monkeypatch, "errors", "settings")
    monkeypatch.setenv("BACKUP_ARCHIVE_S", value)
    with pytest.raises(modules.errors.Refused, match="BACKUP_ARCHIVE_S must be a whole number, from 1 to 20"):
        modules.settings.Settings()
