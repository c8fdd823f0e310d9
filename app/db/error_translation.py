"""Translates errors of PostgreSQL to domain errors."""

import psycopg
import structlog
from psycopg import errors

from app.errors import N_, BadRequest, Busy, Unavailable

log = structlog.get_logger(__name__)

_NOT_MIGRATED = ("42P01", "42703")  # undefined table, undefined column
# Class 08 (connection exception) without 08P01 (protocol_violation): a single message causes it, and the connection
# stays open. 57P01 to 57P03: the server is shutting down, has crashed, or is starting.
_CONNECTION_ERRORS = ("08000", "08001", "08003", "08004", "08006", "08007", "57P01", "57P02", "57P03")
_TOO_COMPLEX = "54"
"""Class 54 (program limit exceeded)."""


class ConstraintViolation(Exception):
    """A statement violated the constraint `name`; its transaction is rolled back.

    users.writes translates the unique constraints of users to AlreadyTaken.
    """

    def __init__(self, name: str | None) -> None:
        super().__init__(name)
        self.name = name


def translate(error: psycopg.Error) -> Exception | None:
    """The domain error for an error of PostgreSQL. None: the statement is wrong, which is a bug."""
    if isinstance(error, psycopg.IntegrityError):
        return ConstraintViolation(error.diag.constraint_name)
    if isinstance(error, errors.LockNotAvailable):
        return Busy(N_("Another request is changing the same data. Try again shortly."))
    # Also values that psycopg itself can't convert.
    if isinstance(error, psycopg.DataError) or (error.sqlstate or "").startswith(_TOO_COMPLEX):
        log.warning("value_refused_by_database", sqlstate=error.sqlstate, error=error.__class__.__name__)
        return BadRequest(N_("A value of this request is out of range, or contains U+0000."))
    if error.sqlstate in _NOT_MIGRATED:
        return Unavailable(N_("The database is not migrated. Run `flask db upgrade`."))
    if isinstance(error, (psycopg.OperationalError, psycopg.InternalError)):
        return Unavailable(N_("The database is unavailable or too busy. Try again shortly."))
    return None


def first_line(error: BaseException) -> str:
    """The first line of the text of an error. It contains no password."""
    return str(error).strip().partition("\n")[0] or error.__class__.__name__


def is_connection_error(error: psycopg.Error) -> bool:
    """Whether the server can't be reached, so that all other requests fail as well.

    Errors of libpq itself (it can't connect, send or receive) have no SQLSTATE. All other SQLSTATEs are about one
    statement or one session.
    """
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _CONNECTION_ERRORS
