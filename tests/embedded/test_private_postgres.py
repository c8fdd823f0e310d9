"""The private PostgreSQL: both versions, as root and as an ordinary user."""

import os
import shutil
import socket
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from witness import NOBODY, ROOT, WAYS, needs_root, wait_until_none_is_left

from embedded import FAST, AlreadyInUse, Postgres, ServerError
from embedded.processes import complete


def ask(server: Postgres, statement: str) -> object:
    with psycopg.connect(server.url, connect_timeout=3) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return row and row[0]


def run(server: Postgres, statement: str) -> None:
    with psycopg.connect(server.url, connect_timeout=3) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("runs_as", WAYS)
@pytest.mark.parametrize("version", [16, 18])
def test_each_version_serves_an_empty_usersdb_in_utf8(tmp_path: Path, version: int, runs_as: str | None) -> None:
    with Postgres(tmp_path / "data", version, settings=FAST, runs_as=runs_as) as server:
        assert str(ask(server, "SHOW server_version")).startswith(f"{version}.")
        assert ask(server, "SELECT current_database()") == "usersdb"
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(server, "SHOW unix_socket_directories") == ""
        assert ask(server, "SHOW password_encryption") == "scram-sha-256"
        assert ask(server, "SELECT count(*) FROM pg_class WHERE relnamespace = 2200") == 0
    wait_until_none_is_left(tmp_path)


@pytest.mark.parametrize("runs_as", WAYS)
def test_restart_and_kill_keep_port_and_committed_data(tmp_path: Path, runs_as: str | None) -> None:
    with Postgres(tmp_path / "data", settings=FAST, runs_as=runs_as) as server:
        url = server.url
        run(server, "CREATE TABLE kept AS SELECT 1 AS number")
        server.restart()
        run(server, "INSERT INTO kept VALUES (2)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            ask(server, "SELECT 1")
        server.start()
        assert ask(server, "SELECT sum(number) FROM kept") == 3
        assert server.url == url


def test_without_settings_it_is_durable(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data") as server:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert ask(server, f"SHOW {name}") == "on"


def test_a_connection_needs_the_password(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data", settings=FAST) as server:
        secret = tmp_path / "data.password"
        assert secret.stat().st_mode & 0o777 == 0o600
        assert server.password in server.url
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace(server.password, "guess"))


def test_a_paused_server_lets_clients_hang_until_it_is_resumed(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data", settings=FAST) as server:
        with psycopg.connect(server.url) as connection:
            server.pause()
            os.write(connection.fileno(), b"")  # the connection itself is still there
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                psycopg.connect(server.url, connect_timeout=2)
            server.resume()
            assert connection.execute("SELECT 1").fetchone() == (1,)
        server.pause()
        server.stop()  # also of a frozen server
    wait_until_none_is_left(tmp_path)


def test_data_of_another_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data", 16, settings=FAST):
        pass
    with pytest.raises(ServerError, match=r"holds data of PostgreSQL 16.*make run POSTGRES=16"):
        Postgres(tmp_path / "data", 18).start()
    with Postgres(tmp_path / "data", 16, settings=FAST) as server:
        assert ask(server, "SELECT 1") == 1


def test_a_version_that_is_not_bundled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"PostgreSQL 15 is not bundled: \[16, 18\] are"):
        Postgres(tmp_path / "data", 15)


def test_a_data_folder_is_used_by_one_process(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data", settings=FAST) as server:
        with pytest.raises(AlreadyInUse, match=f"process {os.getpid()}"):
            Postgres(tmp_path / "data", settings=FAST).start()
        assert ask(server, "SELECT 1") == 1


@pytest.mark.parametrize("stranger", [os.getpid(), 1, 4_000_000], ids=["alive", "init", "gone"])
def test_a_stale_pid_file_does_not_prevent_the_start(tmp_path: Path, stranger: int) -> None:
    server = Postgres(tmp_path / "data", settings=FAST)
    server.start()
    file = tmp_path / "data" / "postmaster.pid"
    server.kill()
    lines = file.read_text().splitlines()
    file.write_text("\n".join([str(stranger), *lines[1:]]) + "\n")
    with server:
        assert ask(server, "SELECT 1") == 1
    assert psutil.pid_exists(os.getpid())


def test_an_interrupted_first_start_is_repeated(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data", settings=FAST):
        pass
    shutil.move(tmp_path / "data", tmp_path / "data.new")
    (tmp_path / "data.new" / "PG_VERSION").unlink()
    with Postgres(tmp_path / "data", settings=FAST) as server:
        assert ask(server, "SELECT 1") == 1
    assert not (tmp_path / "data.new").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port}, asked for PostgreSQL 18, is taken"):
            Postgres(tmp_path / "data", port=port, settings=FAST).start()


def test_a_wrong_setting_is_shown_from_the_log(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="nonsense_setting"):
        Postgres(tmp_path / "data", settings={"nonsense_setting": "1"}).start()
    wait_until_none_is_left(tmp_path)


@needs_root
def test_an_ordinary_user_runs_it_as_himself(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    text = (
        "import os, sys, psutil; from pathlib import Path; from embedded import stack\n"
        "with stack(Path(sys.argv[1])) as both:\n"
        "    print(os.geteuid(), psutil.Process(both.postgres.pid).uids().real)\n"
    )
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}"
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path)]
    code, printed = complete(command, identity=NOBODY)
    assert (code, printed) == (0, "65534 65534\n")


@needs_root
def test_below_sudo_the_data_keeps_its_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    with Postgres(tmp_path / "data", settings=FAST) as server:
        assert psutil.Process(server.pid).uids().effective == 1234
    assert {path.stat().st_uid for path in (tmp_path / "data").rglob("*")} == {1234}
    assert (tmp_path / "data.password").stat().st_uid == 1234


@needs_root
def test_without_namespaces_the_data_of_root_gets_another_owner(tmp_path: Path) -> None:
    with Postgres(tmp_path / "data", settings=FAST) as server:
        run(server, "CREATE TABLE kept AS SELECT 1 AS number")
    with Postgres(tmp_path / "data", settings=FAST, runs_as=NOBODY) as server:
        assert psutil.Process(server.pid).uids().effective == 65534
        assert ask(server, "SELECT number FROM kept") == 1
