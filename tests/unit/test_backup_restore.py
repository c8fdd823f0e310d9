"""A restore that fails leaves nothing that could be started."""

import json
from pathlib import Path

import pytest

from tests.support.backup_program import add_program, backup_modules

_FULL = {
    "id": "a",
    "system_id": "7",
    "timeline": 1,
    "started_at": "",
    "finished_at": "2026-11-30T10:00:00+00:00",
    "start_lsn": "0/0",
    "stop_lsn": "0/0",
    "first_segment": f"{1:024X}",
    "segment_bytes": 16 * 2**20,
    "bytes": 1,
    "server": "16",
}
_TAR = "mkdir $3/base && touch $3/PG_VERSION && ln -s /tmp $3/link; echo 'tar: Unexpected EOF' >&2; exit 2"


def test_a_failed_restore_leaves_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = backup_modules(monkeypatch, "errors", "restore", "server", "settings")
    for name, script in {"age": "exec cat $4", "zstd": "exec cat", "tar": _TAR}.items():
        add_program(tmp_path / "bin", monkeypatch, name, f"#!/bin/sh\n{script}\n")
    secrets = {"postgres_password": "superuser", "backup_password": "backups", "backup_key": "AGE-SECRET-KEY-1TEST"}
    for name, secret in secrets.items():
        (tmp_path / "secrets").mkdir(exist_ok=True)
        (tmp_path / "secrets" / name).write_text(secret)
    folders = {name: tmp_path / name for name in ("archive", "work", "secrets")}
    for name in ("full", "wal"):
        (tmp_path / "archive" / "7" / name).mkdir(parents=True)
    (tmp_path / "archive" / "7" / "full" / "a.json").write_text(json.dumps(_FULL))
    (tmp_path / "archive" / "7" / "full" / "a.tar.zst.age").touch()
    with pytest.raises(modules.errors.Failed, match="Unexpected EOF"):
        modules.restore.restore(modules.settings.Settings(**folders), tmp_path / "data", modules.server.Target())
    assert list((tmp_path / "data").iterdir()) == []
