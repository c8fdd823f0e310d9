"""Inserts many realistic and some adversarial users into the users table of a migrated database.

    python bench/seed.py --count 1000000 postgresql://...

A million users take about 90 seconds. The script uses COPY without triggers and indexes, then creates the indexes
again.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from rig.generated_users import COLUMNS, GeneratedUsers

VERSION = 1
"""Increase this number when the users change: kept databases are then created again."""


def fill(url: str, users: GeneratedUsers, *, replace: bool = False) -> None:
    """Insert `users` into the users table in one transaction, and update its statistics.

    Raises: SystemExit, when the table has users and they must not be replaced; psycopg.Error
    """
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            _empty(connection, replace=replace)
            with _without_indexes(connection), _without_triggers(connection):
                _copy(connection, users)
        _say("updating the statistics")
        connection.execute("VACUUM ANALYZE users")
        connection.execute("CHECKPOINT")


def _empty(connection: psycopg.Connection, *, replace: bool) -> None:
    connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
    if not replace and connection.execute("SELECT 1 FROM users LIMIT 1").fetchone():
        sys.exit("Error: the database has users. --replace deletes them with their history.")
    connection.execute("TRUNCATE users, history, idempotency_keys, tokens")


@contextmanager
def _without_indexes(connection: psycopg.Connection) -> Iterator[None]:
    """Drop all indexes except the primary key, and create them again: much faster than to update them for each row."""
    kept = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = current_schema AND tablename = 'users' AND indexname <> 'users_pkey'"
    ).fetchall()
    for name, _ in kept:
        connection.execute(f'DROP INDEX "{name}"')
    yield
    connection.execute("SET LOCAL maintenance_work_mem = '512MB'")
    _say(f"{len(kept)} indexes")
    for _, definition in kept:
        connection.execute(definition)


@contextmanager
def _without_triggers(connection: psycopg.Connection) -> Iterator[None]:
    """Fill the table of identifiers by one statement, not row by row. TRUNCATE has recorded a change of all."""
    connection.execute(
        "ALTER TABLE users DISABLE TRIGGER users_identifiers_added, DISABLE TRIGGER users_record_external_insert"
    )
    yield
    connection.execute(
        "ALTER TABLE users ENABLE TRIGGER users_identifiers_added, ENABLE ALWAYS TRIGGER users_record_external_insert"
    )
    connection.execute(
        "INSERT INTO identifiers (key, user_id)"
        " SELECT email_key, id FROM users WHERE deleted_at IS NULL AND email_key IS NOT NULL"
        " UNION SELECT username_key, id FROM users WHERE deleted_at IS NULL AND username_key LIKE '%@%'"
    )


def _copy(connection: psycopg.Connection, users: GeneratedUsers) -> None:
    step = max(1, users.count // 10)
    with connection.cursor().copy(f"COPY users ({', '.join(COLUMNS)}) FROM STDIN") as copy:
        for number, row in enumerate(users.rows()):
            copy.write_row(row)
            if number % step == 0:
                _say(f"{number:,} of {users.count:,} users")


def _say(line: str) -> None:
    sys.stderr.write(f"  {line}\n")


def main() -> None:
    """Seed the database that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="URL of a migrated database")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7, help="the same seed creates the same users (default: 7)")
    parser.add_argument("--replace", action="store_true", help="delete existing users first")
    options = parser.parse_args()
    began = time.monotonic()
    fill(options.url, GeneratedUsers(options.count, options.seed), replace=options.replace)
    print(f"{options.count:,} users in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
