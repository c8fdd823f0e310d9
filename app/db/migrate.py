"""Prepares the database: waits for PostgreSQL, refuses a newer database, and migrates under a lock."""

import time
from pathlib import Path

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.db import change_log, database_role
from app.errors import StartError

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent.parent / "migrations"
_LOG_INTERVAL_S = 3.0
_CONNECT_TIMEOUT_S = 3


def prepare(settings: Settings) -> bool:
    """Wait for the database for DATABASE_WAIT_S, and migrate it. Of several processes one migrates, and others wait.

    Returns whether the service can connect as DATABASE_ROLE. Raises: StartError
    """
    wait_for_database(settings)
    _migrate(settings)
    _check(settings)
    return database_role.set_up(settings)


def wait_for_database(settings: Settings) -> None:
    """Wait until PostgreSQL accepts connections. Every few seconds, log why it does not. Raises: StartError"""
    deadline, log_at = time.monotonic() + settings.database_wait_s, 0.0
    while True:
        try:
            psycopg.connect(settings.database_conninfo, connect_timeout=_CONNECT_TIMEOUT_S).close()
        except psycopg.OperationalError as error:
            now, cause = time.monotonic(), _cause(error)
            if now > deadline:
                place = settings.database_address
                raise StartError(
                    f"PostgreSQL at {place} did not answer within {settings.database_wait_s:g} s: {cause}."
                    " Is it running, and are DATABASE_URL, and POSTGRES_PASSWORD where it is set, right?"
                ) from None
            if now > log_at:
                log.warning("waiting_for_database", left_s=round(deadline - now), cause=cause)
                log_at = now + _LOG_INTERVAL_S
            time.sleep(0.2)
        else:
            return


def revisions(settings: Settings) -> tuple[str | None, str]:
    """The revision of the database (None: it is empty) and the newest revision of this release.

    Raises: StartError, if a newer release has migrated the database; psycopg.Error
    """
    scripts = ScriptDirectory.from_config(_alembic(settings))
    newest = scripts.get_current_head() or ""
    with psycopg.connect(settings.database_conninfo, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
        exists = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if exists == (True,) else None
    found: str | None = row[0] if row else None
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StartError(
            f"The database is at revision {found}, which this release (newest: {newest}) does not know:"
            " a newer release has migrated it. Run that release, or restore a backup from before."
        )
    return found, newest


def _migrate(settings: Settings) -> None:
    try:
        found, newest = revisions(settings)
        if found == newest:
            return
        began = time.monotonic()
        log.info("migrating", found=found, newest=newest)
        command.upgrade(_alembic(settings), "head")
    except (psycopg.Error, DBAPIError) as error:
        cause = _cause(error.orig if isinstance(error, DBAPIError) and error.orig else error)
        raise StartError(f"The database could not be migrated: {cause}. Its user needs to own its tables.") from None
    except CommandError as error:
        raise StartError(f"The database could not be migrated: {error}") from None
    log.info("migrated", newest=newest, s=round(time.monotonic() - began, 2))


def _check(settings: Settings) -> None:
    """Raises: StartError"""
    try:
        with psycopg.connect(settings.database_conninfo, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            change_log.require_index(connection)
    except psycopg.Error as error:
        raise StartError(f"The database could not be checked: {_cause(error)}.") from None


def _alembic(settings: Settings) -> Config:
    config = Config(attributes={"conninfo": settings.database_conninfo})
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _cause(error: BaseException) -> str:
    """The first line of the text of an error. It contains no password."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else error.__class__.__name__
