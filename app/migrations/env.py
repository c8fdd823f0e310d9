"""How Alembic reaches the database: on a connection of its own, under an advisory lock."""

import functools

import psycopg
from alembic import context
from alembic.util import CommandError
from flask import has_app_context
from sqlalchemy import Connection, Engine, create_engine, pool, text
from sqlalchemy.exc import DBAPIError

from app.extensions import resources
from app.models import Base
from app.services import database_role

# Any number, as long as it is ours: replicas that start at once take turns by it.
_LOCK = 5_000_16_08_2026


def _conninfo() -> str:
    given = context.config.attributes.get("conninfo")
    if given:
        return str(given)
    if not has_app_context():
        raise RuntimeError("run migrations with `flask db` or through app.services.preparation")
    return resources().settings.database_conninfo


def _run() -> None:
    # No time-outs of the service here: a migration may take as long as it needs.
    connect = functools.partial(psycopg.connect, _conninfo())
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool, hide_parameters=True)
    with _connected(engine) as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
    if "conninfo" not in context.config.attributes:
        # `flask db`: the start does so itself.
        resources().state.as_role = database_role.set_up(resources().settings)


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except DBAPIError as error:
        if "conninfo" in context.config.attributes:
            raise
        # `flask db` prints this as one sentence.
        raise CommandError(str(error.orig).strip().partition("\n")[0]) from None


_run()
