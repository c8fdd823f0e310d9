"""Prepares the database: waits for PostgreSQL, refuses an unknown schema, migrates under a lock, checks the history."""

import time
from pathlib import Path
from typing import NamedTuple

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app.config import CONNECT_TIMEOUT_S, Settings
from app.db import database_role
from app.db.connection_limit import warn_of_too_many_connections
from app.db.error_translation import first_line
from app.errors import StartError
from app.models import NO_XID

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent.parent / "migrations"
_LOG_INTERVAL_S = 3.0

_INDEX = "history_by_xid"
_BATCH = 10_000
# Databases of revisions before 0013 have no column compatible_from.
_REVISION = "SELECT version_num, to_jsonb(v) ->> 'compatible_from' FROM alembic_version AS v"
_IS_USABLE = "SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)), false)"
_RESET = (
    "UPDATE history SET xid = %(none)s WHERE id IN (SELECT id FROM history"
    " WHERE xid > '3' AND xid >= pg_snapshot_xmax(pg_current_snapshot()) LIMIT %(batch)s)"
)


class Revisions(NamedTuple):
    """found: the revision of the database; None: it is empty. newest: that of this release.

    is_newer: a newer release has migrated the database, and says that this one can use it.
    """

    found: str | None
    newest: str
    is_newer: bool = False


def prepare(settings: Settings) -> bool:
    """Wait for the database for DATABASE_WAIT_S, and migrate it. Of several processes one migrates, and others wait.

    Returns whether the service can connect as DATABASE_ROLE. Raises: StartError
    """
    wait_for_database(settings)
    try:
        _migrate(settings)
        _require_index(settings)
        warn_of_too_many_connections(settings)
    except (psycopg.Error, DBAPIError) as error:
        cause = first_line(error.orig if isinstance(error, DBAPIError) and error.orig else error)
        raise StartError(f"The database could not be migrated: {cause}") from None
    except CommandError as error:
        raise StartError(f"The database could not be migrated: {error}") from None
    return database_role.set_up(settings)


def wait_for_database(settings: Settings) -> None:
    """Wait until PostgreSQL accepts connections. Every few seconds, log why it does not. Raises: StartError"""
    deadline, log_at = time.monotonic() + settings.database_wait_s, 0.0
    while True:
        try:
            psycopg.connect(settings.database_conninfo, connect_timeout=CONNECT_TIMEOUT_S).close()
        except psycopg.OperationalError as error:
            now, cause = time.monotonic(), first_line(error)
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


def revisions(settings: Settings) -> Revisions:
    """Compare the database with this release.

    Raises: StartError, if a newer release has migrated the database so that this one can't use it; psycopg.Error
    """
    scripts = ScriptDirectory.from_config(_alembic(settings))
    newest = scripts.get_current_head() or ""
    with psycopg.connect(settings.database_conninfo, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        exists = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        row = connection.execute(_REVISION).fetchone() if exists == (True,) else None
    found, compatible_from = row or (None, None)
    known = {script.revision for script in scripts.walk_revisions()}
    is_newer = found is not None and found not in known
    if is_newer and compatible_from not in known:
        raise StartError(
            f"The database is at revision {found}, which this release (newest: {newest}) does not know:"
            " a newer release has migrated it. Run that release, or restore a backup from before."
        )
    return Revisions(found, newest, is_newer)


def newest_revision(settings: Settings) -> str:
    """The newest revision of this release."""
    return ScriptDirectory.from_config(_alembic(settings)).get_current_head() or ""


def reset_future_xids(conninfo: str) -> int:
    """Set xids to NO_XID that are in the future, after a dump of another cluster was restored.

    Each batch is committed. Returns the number of changed entries. Raises: psycopg.Error
    """
    total = 0
    with psycopg.connect(conninfo, autocommit=True) as connection:
        if connection.execute(_IS_USABLE, [_INDEX]).fetchone() != (True,):
            # The revision of the database has no change log yet.
            return total
        while count := connection.execute(_RESET, {"none": NO_XID, "batch": _BATCH}).rowcount:
            total += count
    if total:
        log.info("xids_reset", entries=total)
    return total


def _migrate(settings: Settings) -> None:
    """Raises: StartError, psycopg.Error, DBAPIError, CommandError"""
    found, newest, is_newer = revisions(settings)
    if is_newer:
        log.info("newer_schema", found=found, newest=newest)
    if is_newer or found == newest:
        return
    began = time.monotonic()
    log.info("migrating", found=found, newest=newest)
    command.upgrade(_alembic(settings), "head")
    log.info("migrated", newest=newest, s=round(time.monotonic() - began, 2))


def _require_index(settings: Settings) -> None:
    """Require the index that the change poller uses. Raises: StartError, psycopg.Error"""
    with psycopg.connect(settings.database_conninfo, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        is_usable = connection.execute(_IS_USABLE, [_INDEX]).fetchone() == (True,)
    if not is_usable:
        raise StartError(
            f"The index {_INDEX} of the table history is missing or invalid, as after an interrupted build."
            f" Rebuild it as the owner of the tables, then start again: DROP INDEX IF EXISTS {_INDEX};"
            f" CREATE INDEX CONCURRENTLY {_INDEX} ON history (xid) WHERE xid > '3';"
        )


def _alembic(settings: Settings) -> Config:
    config = Config(attributes={"conninfo": settings.database_conninfo, "wait_s": settings.database_wait_s})
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
