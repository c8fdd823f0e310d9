"""Counts the transactions of PostgreSQL: a cached response needs none."""

import time

import psycopg

_COUNTED_S = 11
"""PostgreSQL counts the transactions of an idle session at most ten seconds later."""


def transactions(url: str) -> int:
    """The number of transactions that ended in the database so far."""
    time.sleep(_COUNTED_S)
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return int(found[0])
