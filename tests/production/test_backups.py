"""The service backup: what it takes, proves, reports, encrypts and deletes."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backup_stack import ROLE_PASSWORD, backup, files, new_key, remove, start, status, wait_proven

from tests.stack.compose import Stack, run, wait_until
from tests.stack.production_stack import ADMIN, SECRETS, ProductionStack

_KEPT_MB = 32


@pytest.fixture(scope="module")
def stack(
    make_stack: Callable[..., Stack],
    caddy_image: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProductionStack]:
    started = start(
        *(make_stack, "backups", tmp_path_factory.mktemp("backups")), BACKUP_SLOT_KEEP=f"{_KEPT_MB}MB", BACKUP_KEEP="2"
    )
    started.sign_in(ADMIN, SECRETS["admin_password"])
    yield started
    remove(started)


def _archive(stack: Stack) -> Path:
    (folder,) = Path(stack.settings["BACKUP_DIR"]).iterdir()
    return folder


def _full(stack: Stack) -> list[str]:
    return [line.split()[0] for line in backup(stack, "list").stdout.splitlines()]


def test_the_first_backup_is_proven_without_a_command(stack: ProductionStack) -> None:
    found = wait_proven(stack)
    assert found["wal"]["error"] is None
    assert found["slot"]["wal_status"] == "reserved"
    verification = found["verification"]
    # The administrator signs in while the first backup is verified, or before.
    assert verification["tables"]["users"]["rows"] + verification["changed_meanwhile"] == 1
    assert found["same_disk"] is True


def test_a_backup_is_proven_by_all_rows_and_the_newest_entry_of_the_history(stack: ProductionStack) -> None:
    wait_proven(stack)
    for number in range(5):
        stack.make(f"counted-{number}", email=f"counted-{number}@example.org")
    newest = int(stack.sql("SELECT max(id) FROM history"))
    tables = ("users", "history", "identifiers")
    rows = {table: int(stack.sql(f"SELECT count(*) FROM {table}")) for table in tables}  # noqa: S608 - constants
    assert backup(stack, "now").returncode == 0
    verification = status(stack)["verification"]
    assert verification["proven"] is True
    assert verification["newest_history"]["id"] == newest
    assert {table: verification["tables"][table]["rows"] for table in rows} == rows


def test_a_backup_is_proven_while_clients_write(stack: ProductionStack) -> None:
    wait_proven(stack)
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            stack.make(f"writer-{number}", email=f"writer-{number}@example.org")
            # Without a limit, writes of one session would be refused.
            ended.wait(0.15)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert backup(stack, "now").returncode == 0
    finally:
        ended.set()
        writer.join()
    assert status(stack)["verification"]["changed_meanwhile"] > 0


def test_a_write_is_in_the_archive_within_ten_seconds(stack: ProductionStack) -> None:
    wait_proven(stack)
    stack.make("written-just-now")
    position = stack.sql("SELECT pg_current_wal_lsn()")
    archived = f"SELECT '{{}}'::pg_lsn >= '{position}'::pg_lsn"
    wait_until(lambda: stack.sql(archived.format(status(stack)["wal"]["archived_lsn"])) == "t", "it is archived", 10)


def test_nothing_in_the_archive_is_readable_without_the_key(stack: ProductionStack) -> None:
    wait_proven(stack)
    stack.make("plainly-visible", email="plainly-visible@example.org")
    backup(stack, "flush")
    found = files(_archive(stack))
    assert {path.suffix for path in found} == {".age", ".json"}
    for path in found:
        content = path.read_bytes()
        assert b"plainly-visible" not in content
        assert path.suffix == ".json" or content.startswith(b"age-encryption.org/v1\n")


def test_the_role_of_the_backups_can_change_nothing(stack: ProductionStack) -> None:
    program = f"PGPASSWORD='{ROLE_PASSWORD}' psql -qtAX -h 127.0.0.1 -U backup -d usersdb"
    assert stack.sh("db", program, input="SELECT count(*) > 0 FROM users").stdout.strip() == "t"
    for statement in ("UPDATE users SET name = name", "DELETE FROM history", "CREATE TABLE t ()", "SELECT 1 INTO t"):
        assert (
            "permission denied" in stack.sh("db", f"{program} -v ON_ERROR_STOP=1", input=statement, check=False).stderr
        )
    rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls FROM pg_roles WHERE rolname = 'backup'"
    assert stack.sql(rights) == "f"


def test_no_other_role_may_replicate_over_the_network(stack: ProductionStack) -> None:
    words = 'psql "host=db user=postgres replication=1 password=x" -c IDENTIFY_SYSTEM'
    refused = stack.sh("backup", words, check=False)
    assert "no pg_hba.conf entry for replication connection" in refused.stderr


def test_a_damaged_backup_is_reported_as_not_proven(stack: ProductionStack) -> None:
    assert backup(stack, "now").returncode == 0
    newest = _full(stack)[-1]
    file = _archive(stack) / "full" / f"{newest}.tar.zst.age"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert backup(stack, "verify", check=False).returncode == 1
    found = status(stack)
    assert found["verification"]["backup_id"] == newest
    assert found["verification"]["proven"] is False
    assert "age" in found["verification"]["reason"]
    # The one before is not forgotten, and the next one is proven again.
    assert found["last_proven"]["proven"] is True
    assert backup(stack, "now").returncode == 0


def test_a_backup_without_a_segment_of_wal_is_reported_as_not_proven(stack: ProductionStack) -> None:
    assert backup(stack, "now").returncode == 0
    stack.make("in-the-lost-segment")
    lost = stack.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    stack.sql("SELECT pg_switch_wal()")
    stack.make("in-the-next-segment")
    wait_until((_archive(stack) / "wal" / f"{lost}.zst.age").exists, "the segment is archived")
    backup(stack, "flush")
    (_archive(stack) / "wal" / f"{lost}.zst.age").unlink()
    assert backup(stack, "verify", check=False).returncode == 1
    assert f"{lost} is missing" in status(stack)["verification"]["reason"]
    # The service notices by itself, and the next full backup does not need the segment.
    wait_until(lambda: lost in (status(stack)["wal"]["error"] or ""), "the gap is reported")
    assert backup(stack, "now").returncode == 0
    wait_until(lambda: status(stack)["wal"]["error"] is None, "the gap is over")


def test_a_row_that_differs_is_reported_as_not_proven(stack: ProductionStack) -> None:
    stack.make("differs")
    # In the database, the role of the backups finds this table first; in the restored one, the superuser does not.
    stack.sql("CREATE SCHEMA backup; CREATE TABLE backup.users AS SELECT * FROM public.users")
    stack.sql(
        "UPDATE backup.users SET name = 'other' WHERE username = 'differs'; GRANT USAGE ON SCHEMA backup TO backup"
    )
    assert backup(stack, "now", check=False).returncode == 1
    assert "The table users differs" in status(stack)["verification"]["reason"]
    stack.sql("DROP SCHEMA backup CASCADE")
    assert backup(stack, "verify").returncode == 0


def test_old_backups_and_their_wal_are_deleted(stack: ProductionStack) -> None:
    for _ in range(3):
        assert backup(stack, "now").returncode == 0
    assert len(_full(stack)) == 2
    assert len(status(stack)["kept"]) == 2
    assert len(list((_archive(stack) / "full").iterdir())) == 4
    oldest = json.loads((_archive(stack) / "full" / f"{_full(stack)[0]}.json").read_text())
    wal = [path.name for path in files(_archive(stack) / "wal")]
    assert min(wal)[:24] >= oldest["first_segment"]


def test_a_new_key_encrypts_and_the_old_one_still_decrypts(stack: ProductionStack) -> None:
    file = Path(stack.settings["SECRETS_DIR"]) / "backup_key"
    old = file.read_text().strip()
    assert backup(stack, "now").returncode == 0
    before = _full(stack)[-1]
    new = new_key(stack, file)
    file.chmod(0o644)
    file.write_text(f"{new} {old}\n")
    stack("up", "-d", "--wait", "--force-recreate", "backup-role", "backup")
    assert backup(stack, "verify").returncode == 0
    assert backup(stack, "now").returncode == 0
    assert _full(stack)[-1] > before
    file.write_text(f"{old}\n")
    stack("up", "-d", "--wait", "--force-recreate", "backup-role", "backup")
    assert backup(stack, "verify", check=False).returncode == 1
    file.write_text(f"{new} {old}\n")
    stack("up", "-d", "--wait", "--force-recreate", "backup-role", "backup")


def test_a_new_password_of_the_role_is_set_at_the_next_start(stack: ProductionStack) -> None:
    file = Path(stack.settings["SECRETS_DIR"]) / "backup_password"
    file.chmod(0o644)
    file.write_text("another password of the backups\n")
    stack("up", "-d", "--wait", "--force-recreate", "backup-role", "backup")
    assert backup(stack, "flush").returncode == 0
    file.write_text(f"{ROLE_PASSWORD}\n")
    stack("up", "-d", "--wait", "--force-recreate", "backup-role", "backup")


def test_a_stopped_service_does_not_fill_the_disk_of_the_database(stack: ProductionStack) -> None:
    stack("stop", "backup")
    for number in range(_KEPT_MB // 16 + 3):
        stack.make(f"while-stopped-{number}")
        stack.sql("SELECT pg_switch_wal()")
    stack.sql("CHECKPOINT")
    assert stack.sql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'backup'") == "lost"
    before = _newest(stack)
    stack("start", "backup")
    wait_until(lambda: _newest(stack) > before, "a new full backup is taken", 120)
    found = wait_proven(stack)
    assert found["slot"]["wal_status"] == "reserved"
    assert found["wal"]["error"] is None


def _newest(stack: Stack) -> str:
    """The newest full backup, also while the service is stopped."""
    return max(path.stem for path in (_archive(stack) / "full").glob("*.json"))


def test_missing_secrets_are_named(stack: ProductionStack) -> None:
    refused = run("docker", "run", "--rm", stack.settings["BACKUP_IMAGE"], "serve", check=False)
    assert refused.returncode == 1
    assert "The secret backup_password can't be read" in refused.stderr
    assert "The secret backup_key can't be read" in refused.stderr
