"""Alembic's connection to the database. It holds an advisory lock."""

import functools
import time
from collections.abc import Mapping
from typing import Any

import psycopg
import structlog
from alembic import context
from alembic.util import CommandError
from flask import has_app_context
from psycopg import errors
from sqlalchemy import Connection, Engine, create_engine, pool, text
from sqlalchemy.exc import DBAPIError

from app.db import database_role
from app.db.error_translation import first_line
from app.db.migrate import reset_future_xids
from app.http.services import services
from app.models import Base

log = structlog.get_logger(__name__)

# The advisory lock of migrations, so that replicas that start at the same time wait for each other.
_LOCK = 5_000_16_08_2026
_LOCK_POLL_S = 0.1
# While a statement waits for the lock of a table, all requests that use the table wait behind it. They give up after
# database.LOCK_TIMEOUT_MS, so this is less. It is more than deadlock_timeout (1 s by default), after which PostgreSQL
# cancels an autovacuum that holds the lock.
_LOCK_TIMEOUT = "1200ms"
_RETRY_S = 1.0


def _conninfo() -> str:
    given = context.config.attributes.get("conninfo")
    if given:
        return str(given)
    if not has_app_context():
        raise RuntimeError("run migrations with `flask db` or through app.db.migrate")
    return services().settings.database_conninfo


def _run() -> None:
    # Without the time-outs of the service, because a migration may take long.
    connect = functools.partial(psycopg.connect, _conninfo())
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool, hide_parameters=True)
    with _connected(engine) as connection:
        _lock(connection)
        _migrate(connection)
    if "conninfo" not in context.config.attributes:
        # With `flask db`. The start does it itself.
        services().state.is_role_available = database_role.set_up(services().settings)
        # The start does not do it, because it takes long.
        reset_future_xids(_conninfo())


def _lock(connection: Connection) -> None:
    """Wait for the lock without a transaction, because building an index concurrently waits for all transactions."""
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
        connection.rollback()
        time.sleep(_LOCK_POLL_S)
    connection.commit()


def _migrate(connection: Connection) -> None:
    """Run the migrations. Repeat a revision that does not get a lock, until DATABASE_WAIT_S. Raises: DBAPIError"""
    wait_s = context.config.attributes.get("wait_s")
    deadline = time.monotonic() + (services().settings.database_wait_s if wait_s is None else wait_s)
    while True:
        connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
        connection.commit()
        # Each revision has its own transaction, except those that build an index concurrently.
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_name=_is_used,
            compare_type=True,
            transaction_per_migration=True,
        )
        try:
            with context.begin_transaction():
                context.run_migrations()
        except DBAPIError as error:
            is_locked = isinstance(error.orig, (errors.LockNotAvailable, errors.DeadlockDetected))
            if not is_locked or time.monotonic() > deadline:
                raise
            log.warning("migration_waits_for_lock", error=first_line(error.orig or error))
            connection.rollback()
            time.sleep(_RETRY_S)
        else:
            return


def _is_used(name: str | None, _kind: str, parents: Mapping[Any, str | None]) -> bool:
    """Whether the models have the table or the column. A revision names those that no release needs: `unused`."""
    unused = {item for script in context.script.walk_revisions() for item in getattr(script.module, "unused", ())}
    return not {name, f"{parents.get('table_name')}.{name}"} & unused


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except DBAPIError as error:
        if "conninfo" in context.config.attributes:
            raise
        # `flask db` prints this error as one sentence.
        raise CommandError(first_line(error.orig or error)) from None


_run()
