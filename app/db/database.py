"""Access to PostgreSQL: reads, transactions and prepared statements. Errors are domain errors."""

import contextlib
from collections.abc import Hashable, Iterator
from typing import Any, cast

import psycopg
from psycopg.pq.abc import PGresult
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy import exc as sql_errors

from app.config import Settings
from app.db.connection import LOCK_TIMEOUT_MS, DeadlineConnection, can_connect, connect, invalidate_if_closed
from app.db.encoding import encode_values
from app.db.error_translation import is_connection_error, translate
from app.db.statement import MARK_INTERNAL_CHANGE, Statement
from app.db.write_slots import WriteSlots
from app.errors import N_, Unavailable
from app.ops.circuit_breaker import CircuitBreaker
from app.ops.service_state import Phase, ServiceState

_BACKGROUND_STATEMENT_S = 5.0
_PROBE_S = 2.0


class Database:
    """A connection pool, a circuit breaker, and a limit of concurrent writers. Safe for threads.

    engine: has no connections yet; this class opens them.
    """

    def __init__(self, settings: Settings, state: ServiceState, engine: Engine) -> None:
        self._settings, self._state, self._engine = settings, state, engine
        self._has_checked_role = False
        event.listen(engine, "do_connect", lambda *_: self.connect(settings.database_timeout_s))
        event.listen(engine, "checkout", invalidate_if_closed)
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        # Writers that wait for row locks use at most half of the pool; reads have the rest.
        self._write_slots = WriteSlots(max(1, settings.database_pool_size // 2), LOCK_TIMEOUT_MS / 1000)
        self.breaker = CircuitBreaker("database", self._probe)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit mode, for reads: each statement has its own snapshot. Raises: Unavailable"""
        with self._translating_errors(), self._autocommit.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def transaction(self, key: Hashable | None = None) -> Iterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises.

        key: the changed object, for example a user id. Writers of the same key wait for each other before they take a
        connection. The caller writes the history of the transaction, not the triggers.
        Raises: Busy, ConstraintViolation, Unavailable
        """
        with self.write_slot(key), self._translating_errors(), self._engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT {MARK_INTERNAL_CHANGE}")
            yield connection

    @contextlib.contextmanager
    def write_slot(self, key: Hashable | None = None) -> Iterator[None]:
        """Hold a writer slot, the only one for `key`. Raises: Busy"""
        with self._write_slots.slot(key):
            yield

    def execute_prepared(self, statement: Statement, *values: object, timeout_s: float | None = None) -> PGresult:
        """Execute one prepared statement in a transaction of its own.

        timeout_s: the default is DATABASE_TIMEOUT_S.
        Raises: Unavailable, ConstraintViolation, Busy, BadRequest (a text contains U+0000)
        """
        texts = encode_values(values)
        with self._translating_errors():
            pooled = self._engine.raw_connection()
            try:
                return cast("DeadlineConnection", pooled.driver_connection).execute_prepared(
                    statement, texts, timeout_s
                )
            finally:
                pooled.close()

    def connect(self, timeout_s: float) -> DeadlineConnection:
        """Open a connection outside of the pool. `timeout_s`: of its statements.

        It connects as DATABASE_ROLE, or as the owner of the tables if that role is not available.
        Raises: psycopg.OperationalError
        """
        if self._state.phase == Phase.UNMANAGED and not self._has_checked_role:
            # Without a launcher, no other process has checked the role.
            self._has_checked_role = True
            self._state.is_role_available = self._state.is_role_available or can_connect(self._settings.role_conninfo)
        return connect(conninfo_of(self._settings, self._state), timeout_s)

    def connect_autocommit(
        self, connect_timeout_s: float = _BACKGROUND_STATEMENT_S, timeout_s: float | None = None
    ) -> DeadlineConnection:
        """The same in autocommit mode. timeout_s: of its statements; the default is `connect_timeout_s`.

        Raises: psycopg.OperationalError
        """
        connection = self.connect(connect_timeout_s)
        connection.autocommit = True
        if timeout_s is not None:
            connection.deadline_s = timeout_s
        return connection

    def close(self) -> None:
        """Close the pool, and stop probing."""
        self.breaker.close()
        self._engine.dispose()

    def _probe(self) -> None:
        with contextlib.closing(self.connect(_PROBE_S)) as connection:
            connection.execute("SELECT 1")

    @contextlib.contextmanager
    def _translating_errors(self) -> Iterator[None]:
        """Raise Unavailable while the circuit breaker is open. Translate errors of PostgreSQL."""
        if not self.breaker.up:
            raise Unavailable(N_("The database is unavailable. Try again shortly."))
        try:
            yield
        except sql_errors.TimeoutError as error:
            raise Unavailable(N_("The service is too busy. Try again shortly.")) from error
        except (sql_errors.DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, sql_errors.DBAPIError) else error
            if not isinstance(cause, psycopg.Error):
                raise
            if is_connection_error(cause):
                self.breaker.failed(cause)
            translated = translate(cause)
            if translated is None:
                raise
            raise translated from error


def execute_prepared_in(connection: Connection, statement: Statement, *values: object) -> PGresult:
    """Execute one prepared statement in the transaction of `connection`. Raises: psycopg.Error, BadRequest"""
    driver_connection = cast("DeadlineConnection", connection.connection.driver_connection)
    return driver_connection.execute_prepared(statement, encode_values(values))


def conninfo_of(settings: Settings, state: ServiceState) -> str:
    """The connection string: of DATABASE_ROLE if that role is available, otherwise of the owner."""
    return (settings.role_conninfo if state.is_role_available else None) or settings.database_conninfo


def engine_options(settings: Settings) -> dict[str, Any]:
    """Arguments of SQLAlchemy's create_engine, without the URL."""
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": 0,
        "pool_timeout": settings.database_timeout_s,
        "pool_recycle": 1800,
        "pool_use_lifo": True,
        # All transactions have ended before a connection returns. An empty rollback costs a fifth of a look-up.
        "pool_reset_on_return": None,
        "hide_parameters": True,
    }


def engine_url(settings: Settings) -> URL:
    """The URL that SQLAlchemy shows. `Database.connect` has the password and the other parameters."""
    found = settings.database_parameters
    return URL.create("postgresql+psycopg", found.get("user"), None, found.get("host"), database=found.get("dbname"))
