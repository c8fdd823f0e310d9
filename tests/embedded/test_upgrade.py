"""`make upgrade`: data of PostgreSQL 16 become data of 18."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from witness import Script, wait_until_none_is_left

from embedded import FAST, Postgres, ServerError
from embedded.upgrade import upgrade

RUN = "import sys; from embedded import run; sys.exit(run.main(sys.argv[1:]))"
TEXT = "Ångström, ﬀ, 東京, \U0001f600"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of `make run` with data of PostgreSQL 16."""
    with (
        Postgres(tmp_path / "data" / "postgres", 16, settings=FAST) as server,
        psycopg.connect(server.url, autocommit=True) as connection,
    ):
        connection.execute("CREATE ROLE reader")
        connection.execute("CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text)")
        connection.execute("GRANT SELECT ON notes TO reader")
        connection.execute("INSERT INTO notes (text) SELECT %s FROM generate_series(1, 1000)", [TEXT])
    return tmp_path / "data"


def notes(folder: Path, version: int) -> tuple[int, str]:
    """The number of notes and their text. A new one gets a new id."""
    with Postgres(folder, version, settings=FAST) as server, psycopg.connect(server.url) as connection:
        found = connection.execute("SELECT count(*), min(text) FROM notes").fetchone()
        (number,) = connection.execute("INSERT INTO notes (text) VALUES ('new') RETURNING id").fetchone() or (0,)
        connection.rollback()
    assert found is not None
    assert number > 1000
    return found


def test_make_run_says_what_to_do_and_make_upgrade_does_it(data: Path, script: Callable[..., Script]) -> None:
    refused = script(RUN, "--data", str(data), "--flask", "doctor")
    assert "make upgrade POSTGRES=18" in refused.rest()
    assert refused.process.returncode == 1
    done = script(RUN, "--data", str(data), "--upgrade")
    assert "from PostgreSQL 16 to 18" in done.rest()
    assert done.process.returncode == 0
    assert notes(data / "postgres", 18) == (1000, TEXT)
    assert notes(data / "postgres-16", 16) == (1000, TEXT)
    assert not (data / "upgrade").exists()
    assert "has data of PostgreSQL 18 already" in script(RUN, "--data", str(data), "--upgrade").rest()
    wait_until_none_is_left(data)


def test_data_stay_if_the_dump_fails(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Postgres.program
    monkeypatch.setattr(Postgres, "program", lambda self, name: program(self, name.replace("pg_restore", "pg_config")))
    with pytest.raises(ServerError, match="the data are as before"):
        upgrade(data, 18, print)
    assert notes(data / "postgres", 16) == (1000, TEXT)
    monkeypatch.undo()
    upgrade(data, 18, print)
    assert notes(data / "postgres", 18) == (1000, TEXT)


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_an_interrupted_exchange_is_completed(data: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    rename, done = Path.rename, []

    def interrupt(path: Path, target: Path) -> Path:
        if path.parent in (data, data / "upgrade") and not path.name.endswith(".new"):
            done.append(path)
            if len(done) > renames:
                raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        upgrade(data, 18, print)
    monkeypatch.undo()
    upgrade(data, 18, print)
    assert notes(data / "postgres", 18) == (1000, TEXT)
    assert notes(data / "postgres-16", 16) == (1000, TEXT)


def test_an_older_version_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="has no data"):
        upgrade(tmp_path, 18, print)
    with Postgres(tmp_path / "postgres", 18, settings=FAST):
        pass
    with pytest.raises(ServerError, match="which version 16 can't read"):
        upgrade(tmp_path, 16, print)
