"""How Alembic reaches the database: on a connection of its own, under an advisory lock."""

from alembic import context
from flask import has_app_context
from sqlalchemy import create_engine, pool, text

from app.extensions import resources
from app.models import Base

# Any number, as long as it is ours: replicas that start at once take turns by it.
_LOCK = 5_000_16_08_2026


def _database_url() -> str:
    given = context.config.attributes.get("database_url")
    if given:
        return str(given)
    if not has_app_context():
        raise RuntimeError("run migrations with `flask db` or through app.services.preparation")
    return resources().settings.database_url


def _run() -> None:
    # No time-outs of the service here: a migration may take as long as it needs.
    url = _database_url().replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, poolclass=pool.NullPool, hide_parameters=True)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()


_run()
