"""How many transactions PostgreSQL ran: what a cache answers takes none."""

import time

import psycopg

_COUNTED_S = 11
"""PostgreSQL counts what an idle session did after ten seconds at the latest."""


def transactions(url: str) -> int:
    """All that ended in the database so far, once they are counted."""
    time.sleep(_COUNTED_S)
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return int(found[0])
