"""A database of many users, for tests of plans: filled by the seeder of the benchmarks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from app.config import load_settings
from app.db.migrate import prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from rig.people import People
from seed import fill


@contextmanager
def seeded_database(count: int, server_url: str) -> Iterator[str]:
    """The URL of a new database with so many users, beside the one of `server_url`. It goes in the end."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS seeded WITH (FORCE)")
        connection.execute("CREATE DATABASE seeded")
        url = server_url.replace("/usersdb", "/seeded")
        prepare(load_settings({}, database_url=url))
        fill(url, People(count))
        yield url
        connection.execute("DROP DATABASE seeded WITH (FORCE)")
