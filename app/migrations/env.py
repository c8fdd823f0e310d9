"""Alembic's connection to the database. It holds an advisory lock."""

import functools
import time

import psycopg
from alembic import context
from alembic.util import CommandError
from flask import has_app_context
from sqlalchemy import Connection, Engine, create_engine, pool, text
from sqlalchemy.exc import DBAPIError

from app.db import database_role
from app.db.error_translation import first_line
from app.db.migrate import reset_future_xids
from app.http.services import services
from app.models import Base

# The advisory lock of migrations, so that replicas that start at the same time wait for each other.
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
    # Without the time-outs of the service, because a migration may take long.
    connect = functools.partial(psycopg.connect, _conninfo())
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool, hide_parameters=True)
    with _connected(engine) as connection:
        _lock(connection)
        # Each revision has its own transaction, except those that build an index concurrently.
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_type=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
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


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except DBAPIError as error:
        if "conninfo" in context.config.attributes:
            raise
        # `flask db` prints this error as one sentence.
        raise CommandError(first_line(error.orig or error)) from None


_run()
