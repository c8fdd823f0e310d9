"""How Alembic reaches the database: on a connection of its own, under an advisory lock."""

import functools
import time

import psycopg
from alembic import context
from alembic.util import CommandError
from flask import has_app_context
from sqlalchemy import Connection, Engine, create_engine, pool, text
from sqlalchemy.exc import DBAPIError

from app.db import change_log, database_role
from app.http.services import services
from app.models import Base

# Any number, as long as it is ours: replicas that start at once take turns by it.
_LOCK = 5_000_16_08_2026
_LOCK_POLL_S = 0.1


def _conninfo() -> str:
    given = context.config.attributes.get("conninfo")
    if given:
        return str(given)
    if not has_app_context():
        raise RuntimeError("run migrations with `flask db` or through app.db.migrate")
    return services().settings.database_conninfo


def _run() -> None:
    # No time-outs of the service here: a migration may take as long as it needs.
    connect = functools.partial(psycopg.connect, _conninfo())
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool, hide_parameters=True)
    with _connected(engine) as connection:
        _lock(connection)
        # Each revision is committed by itself: one that builds an index concurrently has no transaction.
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_type=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
    if "conninfo" not in context.config.attributes:
        # `flask db`: the start does so itself.
        services().infrastructure.state.is_role_available = database_role.set_up(services().settings)
        # Not by the start, which would wait for it.
        change_log.reset_future_xids(_conninfo())


def _lock(connection: Connection) -> None:
    """Wait for the lock without a transaction: an index that is built concurrently waits for all transactions."""
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
        connection.rollback()
        time.sleep(_LOCK_POLL_S)
    connection.commit()


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except DBAPIError as error:
        if "conninfo" in context.config.attributes:
            raise
        # `flask db` prints this as one sentence.
        raise CommandError(str(error.orig).strip().partition("\n")[0]) from None


_run()
