"""A database with many users, for tests of query plans. The benchmarks' seeder fills it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from app.config import load_settings
from app.db.migrate import prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from rig.generated_users import GeneratedUsers
from seed import fill


@contextmanager
def seeded_database(count: int, server_url: str) -> Iterator[str]:
    """The URL of a new database with `count` users on the server of `server_url`. It is dropped after the block."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS seeded WITH (FORCE)")
        connection.execute("CREATE DATABASE seeded")
        url = server_url.replace("/usersdb", "/seeded")
        prepare(load_settings({}, database_url=url))
        fill(url, GeneratedUsers(count))
        yield url
        connection.execute("DROP DATABASE seeded WITH (FORCE)")
