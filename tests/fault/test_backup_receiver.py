"""The service `backup` receives WAL, and takes a full backup, of a PostgreSQL that deletes old WAL meanwhile."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from embedded.postgres import USER, Postgres
from tests.conftest import POSTGRES
from tests.support.backup_program import add_program, backup_modules
from tests.support.waiting import wait_until

_SETTINGS = {"wal_level": "replica", "max_wal_senders": "5", "min_wal_size": "32MB", "max_wal_size": "32MB"}
_ENCRYPT = "until [ -e {folder}/go ]; do sleep 0.1; done; exec cat"
_FAST = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("backed-up") / "data", POSTGRES, settings=_SETTINGS | _FAST) as started:
        yield started


@pytest.fixture
def program(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The program, its settings, and the database. Nothing is encrypted until the file "go" is there."""
    scripts = {"age-keygen": "echo age1test", "zstd": "exec cat", "age": _ENCRYPT.format(folder=tmp_path)}
    for name, script in scripts.items():
        add_program(tmp_path / "bin", monkeypatch, name, f"#!/bin/sh\n{script}\n")
    modules = backup_modules(monkeypatch, "archive", "full", "programs", "settings", "status", "wal")
    monkeypatch.setenv("PATH", f"{Path(server.program('psql')).parent}:{os.environ['PATH']}")
    folders = {name: tmp_path / name for name in ("archive", "work", "secrets")}
    for folder in folders.values():
        folder.mkdir()
    (folders["secrets"] / "backup_key").write_text("AGE-SECRET-KEY-1TEST")
    login = {"PGUSER": USER, "PGPASSWORD": server.password, "PGHOST": "127.0.0.1", "PGPORT": str(server.port)}
    modules.made = modules.settings.Settings(**folders)
    modules.database = modules.programs.Database({**login, "PGDATABASE": "usersdb"})
    return modules


def delete_wal(server: Postgres) -> None:
    """Fill segments until the server has deleted those from before."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        for _ in range(6):
            connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000)), pg_switch_wal()")
            connection.execute("CHECKPOINT")


def test_a_slot_that_was_dropped_is_replaced(server: Postgres, program: SimpleNamespace) -> None:
    receiver = program.wal.Receiver(program.made, program.database)

    def received() -> Any:
        position = receiver.position()
        return position["written_lsn"] and position["lag_bytes"] <= 0

    receiver.start()
    wait_until(received)
    receiver.stop()
    program.database.run("SELECT pg_drop_replication_slot('backup')")
    delete_wal(server)
    receiver.start()
    try:
        wait_until(received)
    finally:
        receiver.stop()
        # It would keep WAL for the other tests.
        wait_until(lambda: not receiver.slot()["active"])
        program.database.run("SELECT pg_drop_replication_slot('backup')")


def test_a_full_backup_may_take_longer_than_the_server_keeps_wal(
    server: Postgres, program: SimpleNamespace, tmp_path: Path
) -> None:
    archive = program.archive.Archive(program.made, "7")
    archive.create()
    status = program.status.Status(tmp_path / "status.json")
    status.write(wal={"archived_lsn": "FFFFFFFF/0"})
    taken: list[Any] = []
    thread = threading.Thread(target=lambda: taken.append(program.full.take(archive, program.database, status)))
    thread.start()
    wait_until(lambda: _is_sending(server))
    delete_wal(server)
    (tmp_path / "go").touch()
    thread.join(60)
    (backup,) = taken
    assert archive.backups() == [backup]


def _is_sending(server: Postgres) -> bool:
    phase = "SELECT FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'"
    with psycopg.connect(server.url) as connection:
        return bool(connection.execute(phase).fetchall())
