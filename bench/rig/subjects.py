"""Runs the service once for each size of the table, on one PostgreSQL. Seeded databases are kept."""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
import seed
from psycopg import sql

from app.config import load_settings
from app.db.migrate import MIGRATIONS, prepare
from app.models import PRIVILEGED_ROLE, ROLES, SORT_KEYS
from embedded import Postgres, Redis
from embedded.ports import free_port
from embedded.service import Service
from rig import DATA, ROOT
from rig.api import await_ready
from rig.generated_users import GeneratedUsers

# Files that rows depend on, besides the seeder. If one of them changes, kept databases are outdated.
_SOURCES = (
    *sorted(MIGRATIONS.glob("versions/*.py")),
    ROOT / "app/search/text.py",
    ROOT / "bench/rig/generated_users.py",
)


@dataclass(frozen=True)
class Subject:
    """A running service and its database."""

    users: GeneratedUsers
    database_url: str
    port: int


@dataclass(frozen=True)
class Servers:
    """The running PostgreSQL and Redis."""

    postgres: Postgres
    redis: Redis

    def version(self) -> str:
        """The full version of PostgreSQL."""
        with psycopg.connect(self.postgres.url) as connection:
            return str(connection.execute("SHOW server_version").fetchone()[0])


@contextmanager
def servers(version: int, shared_buffers: str) -> Iterator[Servers]:
    """Run a durable PostgreSQL and a Redis on the kept data."""
    # The contenders of speed.py have almost two hundred connections in total.
    settings = {"shared_buffers": shared_buffers, "max_wal_size": "4GB", "max_connections": "300"}
    postgres = Postgres(DATA / f"postgres-{version}", version, settings=settings)
    with postgres, Redis(DATA / "redis") as redis:
        yield Servers(postgres, redis)


@contextmanager
def subjects(running: Servers, sizes: Sequence[int]) -> Iterator[list[Subject]]:
    """Run one service for each size. Missing or outdated databases are created first."""
    urls = [database(running.postgres, GeneratedUsers(size)) for size in sizes]
    with ExitStack() as services:
        found = []
        for size, url in zip(sizes, urls, strict=True):
            _warm(url)
            found.append(Subject(GeneratedUsers(size), url, _serve(services, running, url)))
        yield found


def database(postgres: Postgres, users: GeneratedUsers) -> str:
    """The URL of a database with exactly these users. Its comment tells what it was created from."""
    name, recipe = f"users_{users.count}", _recipe(users)
    url = urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if found == (recipe,):
            return url
        sys.stderr.write(f"Creating a database of {users.count:,} users (once)\n")
        began = time.monotonic()
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        prepare(load_settings({}, database_url=url))
        seed.fill(url, users)
        # The comment is written last, so that an incomplete database is created again.
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(recipe)))
        sys.stderr.write(f"Made in {time.monotonic() - began:.0f} s\n")
    return url


def _recipe(users: GeneratedUsers) -> str:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:16]
    return f"{users}, seeder {seed.VERSION}, sources {digest}"


def _warm(url: str) -> None:
    """Read the table and its indexes once in each order, as in a database that has been used for some time."""
    with psycopg.connect(url, options="-c enable_seqscan=off -c enable_sort=off", autocommit=True) as connection:
        _read_words(connection)
        connection.execute("SELECT count(id) FROM (SELECT id FROM users ORDER BY id OFFSET 0) AS users")
        for key in SORT_KEYS.values():
            for half in ("IS NULL", "IS NOT NULL"):
                rows = f"SELECT version FROM users WHERE deleted_at {half} ORDER BY {key}, id OFFSET 0"
                connection.execute(f"SELECT sum(version) FROM ({rows}) AS users")
            for role in ROLES[1:]:
                rows = (
                    f"SELECT version FROM users WHERE deleted_at IS NULL AND {PRIVILEGED_ROLE} AND role = '{role}'"
                    f" ORDER BY {key}, id OFFSET 0"
                )
                connection.execute(f"SELECT sum(version) FROM ({rows}) AS users")


def _read_words(connection: psycopg.Connection) -> None:
    """Read the index of lexemes: the posting lists of each first letter."""
    letters = connection.execute(
        "SELECT DISTINCT left(word, 1) FROM pg_stats, unnest(most_common_elems::text::text[]) AS word"
        " WHERE tablename = 'users' AND attname = 'search_vector'"
    ).fetchall()
    # For one row, the planner would choose another index.
    connection.execute("SET enable_indexscan = off")
    for (letter,) in letters:
        connection.execute("SELECT 1 FROM users WHERE search_vector @@ %s::tsquery LIMIT 1", [f"'{letter}':*"])
    connection.execute("RESET enable_indexscan")


def _serve(services: ExitStack, running: Servers, url: str) -> int:
    """Start a service and wait until it is ready. Returns its port."""
    port = free_port()
    settings = {
        # No other variables of the shell: its settings are for another service.
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ},
        "DATABASE_URL": url,
        "REDIS_URL": running.redis.url,
        # PostgreSQL is measured: a cached page costs the same at any size.
        "CACHE_TTL_S": "0",
        "PORT": str(port),
        "LOG_LEVEL": "warning",
    }
    service = Service([sys.executable, "-m", "app"], port, settings, ROOT)
    services.callback((DATA / f"{port}.state").unlink, missing_ok=True)
    services.callback(service.stop)
    await_ready(service)
    return port
