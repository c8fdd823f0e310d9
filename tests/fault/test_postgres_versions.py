"""The data of a service on PostgreSQL 16 move to 18 by a dump, with the options that docs/operations.md names."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from embedded import FAST, Postgres, Redis
from tests.support.flask_db import flask_db
from tests.support.service_process import ROOT, Service, first_administrator

DOCS = (ROOT / "docs" / "operations.md").read_text()
SECTION = DOCS[DOCS.index("### PostgreSQL 16 to 18") :].partition("\n## ")[0]
TABLES = ("users", "tokens", "identifiers", "history", "retention", "idempotency_keys")


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[dict[int, Postgres]]:
    with ExitStack() as stack:
        yield {
            version: stack.enter_context(Postgres(tmp_path / str(version), version, settings=FAST))
            for version in (16, 18)
        }


@contextmanager
def service_on(server: Postgres, cache: Redis, folder: Path) -> Iterator[Service]:
    env = {"DATABASE_URL": server.url, "REDIS_URL": cache.url, "WORKERS": "1"}
    service = Service(folder / f"service-{server.version}.log", env)
    try:
        service.wait_ready()
        yield service
    finally:
        service.kill()


def documented(program: str) -> list[str]:
    """The options of a program in the docs, without those that name user and database."""
    (line,) = re.findall(rf"^docker .* {program} (.*?)(?: [<>|]| *$)", SECTION, re.MULTILINE)
    words = shlex.split(line)
    return [word for word in words if word.startswith("-") and word not in ("-U", "-d")]


def run(server: Postgres, program: str, *options: str) -> None:
    address = urlsplit(server.url)
    env = {"PGPASSWORD": server.password, "PGHOST": "127.0.0.1", "PGPORT": str(address.port), "PGUSER": "postgres"}
    done = subprocess.run(
        [server.program(program), *options], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def rows(server: Postgres) -> dict[str, Any]:
    with psycopg.connect(server.url) as connection:
        return {
            table: connection.execute(f"SELECT t::text FROM {table} AS t ORDER BY t::text").fetchall()  # noqa: S608
            for table in TABLES
        }


def test_a_dump_of_16_is_a_database_of_18(versions: dict[int, Postgres], own_redis: Redis, tmp_path: Path) -> None:
    old, new = versions[16], versions[18]
    with service_on(old, own_redis, tmp_path) as service:
        headers = first_administrator(service)
        user = service.post("/api/users", {"username": "ada", "attributes": {"n": 1e20, "ﬀ": "東京"}}, headers=headers)
        path = f"/api/users/{user.json['id']}"
        assert service("PATCH", path, {"name": "Ada"}, headers=headers).status == 200
        known = service.get(path, headers=headers).json
    before = rows(old)
    run(old, "pg_dump", *documented("pg_dump"), "-f", str(tmp_path / "users.dump"), "usersdb")
    run(new, "pg_restore", *documented("pg_restore"), "-d", "usersdb", str(tmp_path / "users.dump"))
    assert rows(new) == before
    with service_on(new, own_redis, tmp_path) as service:
        assert "migrating" not in service.text
        # The credentials and the record are those of before, and the history goes on.
        assert service.get(path, headers=headers).json == known
        with psycopg.connect(new.url) as connection:
            connection.execute("UPDATE users SET name = 'Ada L' WHERE username = 'ada'")
        service.wait_for(lambda: service.get(path, headers=headers).json["name"] == "Ada L", 2)
        assert service("PATCH", path, {"name": "Ada Lovelace"}, headers=headers).status == 200
        entries = service.get(f"{path}/history", headers=headers).json
        assert [entry["action"] for entry in entries] == ["changed", "changed", "changed", "created"]
        assert [found["id"] for found in service.get("/api/users?q=lovelace", headers=headers).json] == [known["id"]]
    flask_db(new.url, "upgrade")
    with psycopg.connect(new.url) as connection:
        future = "SELECT count(*) FROM history WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())"
        assert connection.execute(future).fetchone() == (0,)
