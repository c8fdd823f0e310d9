"""Builds and drops indexes while the service reads and writes the table. A revision that does so does nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op
from sqlalchemy import text


def create_index(name: str, definition: str) -> None:
    """Build an index, for example with the definition `history (xid) WHERE xid > '3'`. It can be repeated."""
    with _waiting_for_transactions():
        # What an interrupted build left is invalid.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")


def drop_index(name: str) -> None:
    """Drop an index, if it exists."""
    with _waiting_for_transactions():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


@contextmanager
def _waiting_for_transactions() -> Iterator[None]:
    """No transaction and no lock_timeout: PostgreSQL waits for the transactions of others, and nobody waits for it."""
    with op.get_context().autocommit_block():
        lock_timeout = op.get_bind().scalar(text("SHOW lock_timeout"))
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{lock_timeout}'")
