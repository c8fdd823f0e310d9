"""The copy of the backups in S3 has what the archive has, also after errors. A folder stands in for S3."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.backup_program import add_program, backup_modules

_FULL, _WAL, _PARTIAL = "7/full/a.tar.zst.age", "7/wal/1.zst.age", "7/wal/1.partial.zst.age"
_BACKUP = {
    "system_id": "7",
    "timeline": 1,
    "started_at": "",
    "start_lsn": "0/0",
    "stop_lsn": "0/0",
    "segment_bytes": 1,
    "bytes": 1,
    "server": "16",
}
_RCLONE = f"""#!{sys.executable}
\"\"\"The used commands of rclone. It refuses files with the text of the file "refused" in their name.\"\"\"
import os, shutil, sys
from fnmatch import fnmatch
from pathlib import Path

command = next(word for word in sys.argv if word in ("copy", "copyto", "delete"))
names = sys.argv[sys.argv.index(command) + 1 :]
excluded = [names[at + 1] for at, word in enumerate(names) if word == "--exclude"]
store = Path(os.environ["STORE"])

def put(source, name):
    refused = store / "refused"
    if refused.exists() and refused.read_text() in name:
        sys.exit("ERROR : refused")
    target = store / name.removeprefix("copy:")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)

if command == "delete":
    for name in Path(names[1]).read_text().splitlines():
        (store / names[2].removeprefix("copy:") / name).unlink(missing_ok=True)
elif command == "copyto":
    if not Path(names[0]).exists():
        sys.exit("ERROR : directory not found")
    put(names[0], names[1])
else:
    source, target = names[-2:]
    for path in sorted(Path(source).rglob("*")):
        if path.is_file() and not any(fnmatch(path.name, pattern) for pattern in excluded):
            put(path, f"{{target}}/{{path.relative_to(source)}}")
"""


class Site:
    """An archive with a full backup and WAL, its status, and the folder that stands in for the bucket."""

    def __init__(self, folder: Path, modules: SimpleNamespace) -> None:
        self.archive, self.store = folder / "archive", folder / "store"
        for name in (_FULL, _WAL, "7/wal/2.partial.zst.age", "7/full/.new-b"):
            self.write(name)
        (folder / "secrets").mkdir()
        (folder / "secrets" / "backup_s3").write_text("key secret\n")
        settings = modules.settings.Settings(archive=self.archive, secrets=folder / "secrets")
        self.copy = modules.copies.Copy(settings, "bucket")
        self.status = modules.status.Status(folder / "status.json")
        self.sender = modules.copies.Sender(self.status, self.copy)
        self.modules, self.settings = modules, settings

    def write(self, name: str) -> Path:
        path = self.archive / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        return path

    def refuse(self, name: str) -> None:
        """From now on, S3 refuses files with this in their name."""
        (self.store / "refused").write_text(name)

    def accept(self) -> None:
        """From now on, S3 refuses no file."""
        (self.store / "refused").unlink()

    def send(self, *names: str) -> None:
        self.sender.send({self.archive / name for name in names})
        self.sender.finish(30)

    def send_all(self) -> bool:
        return bool(self.modules.copies.send_all(self.status, self.copy))

    @property
    def copied(self) -> set[str]:
        bucket = self.store / "bucket"
        return {str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file()}

    @property
    def error(self) -> Any:
        return self.status.read()["copy"].get("error")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    modules = backup_modules(monkeypatch, "archive", "copies", "settings", "status")
    add_program(tmp_path / "bin", monkeypatch, "rclone", _RCLONE)
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    return Site(tmp_path, modules)


def test_a_new_copy_gets_the_whole_archive_at_once(site: Site) -> None:
    site.send()
    assert site.copied == {_FULL, _WAL, "7/wal/2.partial.zst.age"}
    assert site.error is None


def test_a_file_that_another_process_could_not_send_stays_an_error_until_it_is_sent(site: Site) -> None:
    site.send()
    later = "7/full/c.tar.zst.age"
    site.write(later)
    site.refuse("/full/c")
    assert not site.send_all()
    site.send(_WAL)
    assert "refused" in site.error
    assert later not in site.copied
    site.accept()
    site.send()
    assert site.error is None
    assert later in site.copied


def test_what_could_not_be_sent_is_sent_later(site: Site) -> None:
    site.send()
    site.write("7/wal/3.zst.age")
    site.refuse("/wal/3")
    site.send("7/wal/3.zst.age")
    assert "refused" in site.error
    site.accept()
    site.send()
    assert "7/wal/3.zst.age" in site.copied
    assert site.error is None


def test_an_error_of_this_machine_is_reported_as_well(site: Site) -> None:
    def no_space() -> None:
        raise OSError(28, "No space left on device")

    assert not site.modules.copies.report(site.status, site.copy, no_space)
    assert "No space left" in site.error


def test_the_copy_has_no_incomplete_segment_beside_the_complete_one(site: Site) -> None:
    partial = site.write(_PARTIAL)
    site.send()
    assert _PARTIAL in site.copied
    partial.unlink()
    site.send(_WAL, _PARTIAL)
    assert _PARTIAL not in site.copied
    assert _WAL in site.copied
    assert site.error is None


def test_the_copy_also_loses_incomplete_segments_that_the_archive_no_longer_has(site: Site) -> None:
    archive = site.modules.archive.Archive(site.settings, "7")
    for name, segment in (("a", 2), ("b", 4)):
        described = {**_BACKUP, "id": name, "finished_at": "", "first_segment": f"{segment:024X}"}
        site.write(f"7/full/{name}.json").write_text(json.dumps(described))
    for segment in range(1, 6):
        site.write(f"7/wal/{segment:024X}.zst.age")
    first = f"7/wal/{1:024X}.partial.zst.age"
    site.write(first)
    site.send()
    (site.archive / first).unlink()
    unneeded = archive.unneeded(1, "b")
    site.copy.delete(unneeded)
    archive.delete(unneeded)
    assert first not in site.copied
    kept = {f"7/wal/{segment:024X}.zst.age" for segment in (4, 5)}
    assert {name for name in site.copied if "/wal/0" in name} == kept
    assert {path.stem for path in archive.full.glob("*.json")} == {"b"}
