"""Access to PostgreSQL: connections, reads, transactions and prepared statements. Errors are domain errors."""

import contextlib
import select
import sys
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, cast

import orjson
import psycopg
from psycopg.types.json import set_json_dumps
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy import exc as sql_errors

from app import signals
from app.config import CONNECT_TIMEOUT_S, Settings
from app.db import database_role
from app.db.error_translation import ConstraintViolation, is_connection_error, translate
from app.db.expressions import MARK_INTERNAL_CHANGE
from app.db.write_slots import WriteSlots
from app.errors import N_, Busy, Unavailable
from app.ops.circuit_breaker import CircuitBreaker
from app.ops.service_state import Phase, ServiceState

LOCK_TIMEOUT_MS = 1500
"""How long a statement waits for a lock. Only SQL from outside holds locks longer than some milliseconds."""

# A request never waits for a sequential scan.
_SESSION_SETTINGS = {
    "jit": "off",
    "enable_seqscan": "off",
    "random_page_cost": "1.1",
    "work_mem": "32MB",
    "timezone": "UTC",
    "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
    "idle_in_transaction_session_timeout": "60s",
}
_FAILURES: dict[type, str] = {Unavailable: "unavailable", Busy: "busy", ConstraintViolation: "constraint"}
"""The errors that `database_failed` reports, and their kinds."""
_GRACE_S = 0.5
_MAX_PREPARED = 200
"""Prepared statements of one connection. Each takes about 30 kB in PostgreSQL."""
_BACKGROUND_S = 5.0
_PROBE_S = 2.0


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that closes itself if PostgreSQL does not answer within `deadline_s`.

    The time-outs of PostgreSQL itself don't work while its host hangs.
    cancel_after_s: before that, a statement that takes longer is cancelled.
    """

    deadline_s: float | None = None
    cancel_after_s: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait like psycopg, with `deadline_s` as the default of `timeout`.

        Raises: psycopg.OperationalError, without a SQLSTATE after the time-out
        """
        try:
            try:
                return super().wait(gen, interval, self.cancel_after_s or timeout or self.deadline_s)
            except psycopg.OperationalError as error:
                if self.cancel_after_s is None or error.sqlstate is not None or self.closed:
                    raise
                # PostgreSQL then answers that the statement was cancelled.
                self.cancel_safe(timeout=CONNECT_TIMEOUT_S)
                return super().wait(gen, interval, self.deadline_s)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                # The server did not answer in time, or can't be reached: the connection can't be used again.
                self.pgconn.finish()
            raise


class Database:
    """A connection pool, a circuit breaker, and a limit of concurrent writers. Safe for threads.

    engine: has no connections yet; this class opens them.
    """

    def __init__(self, settings: Settings, state: ServiceState, engine: Engine) -> None:
        self._settings, self._state, self._engine = settings, state, engine
        self._has_checked_role = False
        event.listen(engine, "do_connect", lambda *_: self.connect(settings.database_timeout_s))
        event.listen(engine, "checkout", _invalidate_if_closed)
        event.listen(engine, "begin", _begin)
        self._autocommit = engine.execution_options(autocommit=True)
        # Writers that wait for row locks use at most half of the pool; reads have the rest.
        self.write_slots = WriteSlots(max(1, settings.database_pool_size // 2), LOCK_TIMEOUT_MS / 1000)
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
        translating = self._translating_errors(is_read=False)
        with self.write_slots.slot(key), translating, self._engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT {MARK_INTERNAL_CHANGE}")
            yield connection

    def execute(
        self, sql: str, parameters: Mapping[str, Any], *, prepare: bool = True, timeout_s: float | None = None
    ) -> psycopg.Cursor[Any]:
        """Execute one frequent statement in a transaction of its own, at a tenth of the cost of SQLAlchemy.

        prepare: after some executions, PostgreSQL uses one plan for all values, which halves its work. Otherwise it
        plans for the values each time.
        timeout_s: the default is DATABASE_TIMEOUT_S.
        Raises: Unavailable, ConstraintViolation, Busy, BadRequest (a text contains U+0000)
        """
        with self._translating_errors(), contextlib.closing(self._engine.raw_connection()) as pooled:
            connection = cast("DeadlineConnection", pooled.driver_connection)
            connection.cancel_after_s = timeout_s
            try:
                return connection.execute(sql, parameters, prepare=prepare)
            finally:
                connection.cancel_after_s = None

    def revision(self) -> str:
        """The revision of the database; empty, if no release has migrated it.

        Raises: Unavailable, also while the service starts
        """
        if self._state.phase == Phase.STARTING:
            # DATABASE_ROLE may not be available yet, and the pool would keep a connection of the owner.
            raise Unavailable(N_("The database is unavailable. Try again shortly."))
        row = self.execute("SELECT version_num FROM alembic_version", {}, prepare=False, timeout_s=_PROBE_S).fetchone()
        return row[0] if row else ""

    def connect(self, timeout_s: float = _BACKGROUND_S, deadline_s: float | None = None) -> DeadlineConnection:
        """Open a connection outside of the pool, in autocommit mode.

        It connects as DATABASE_ROLE, or as the owner of the tables if that role is not available.
        timeout_s: of its statements. deadline_s: when it closes itself; the default is shortly after `timeout_s`.
        Raises: psycopg.OperationalError
        """
        settings, state = self._settings, self._state
        if state.phase == Phase.UNMANAGED and not self._has_checked_role:
            # Without a launcher, no other process has checked the role.
            self._has_checked_role = True
            state.is_role_available = state.is_role_available or database_role.can_log_in(settings)
        conninfo = (settings.role_conninfo if state.is_role_available else None) or settings.database_conninfo
        connection = connect(conninfo, timeout_s, autocommit=True)
        connection.deadline_s = deadline_s or connection.deadline_s
        return connection

    def close(self) -> None:
        """Close the pool, and stop probing."""
        self.breaker.close()
        self._engine.dispose()

    def _probe(self) -> None:
        with contextlib.closing(self.connect(_PROBE_S)) as connection:
            connection.execute("SELECT 1")

    @contextlib.contextmanager
    def _translating_errors(self, *, is_read: bool = True) -> Iterator[None]:
        """Raise Unavailable while the circuit breaker is open. Translate errors of PostgreSQL.

        is_read: an error of the caller rolls nothing back.
        """
        if not self.breaker.up:
            raise _signalled(Unavailable(N_("The database is unavailable. Try again shortly.")))
        result = "committed" if is_read else "rolled_back"
        try:
            yield
            result = "committed"
        except (sql_errors.SQLAlchemyError, psycopg.Error) as error:
            result, translated = "rolled_back", self._translate(error)
            if translated is None:
                raise
            raise _signalled(translated) from error
        finally:
            for receive in signals.transaction_ended:
                receive(result)

    def _translate(self, error: sql_errors.SQLAlchemyError | psycopg.Error) -> Exception | None:
        """The domain error. None: the statement is wrong, which is a bug."""
        if isinstance(error, sql_errors.TimeoutError):
            return Unavailable(N_("The service is too busy. Try again shortly."))
        if isinstance(error, sql_errors.InvalidRequestError) and str(error) == "This connection is closed":
            # The pool gives up when each connection that it opens is closed before its use.
            return Unavailable(N_("The database is unavailable. Try again shortly."))
        cause = error.orig if isinstance(error, sql_errors.DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            return None
        if is_connection_error(cause):
            self.breaker.failed(cause)
        return translate(cause)


def connect(conninfo: str, timeout_s: float, *, autocommit: bool = False) -> DeadlineConnection:
    """Open a connection with the session settings of the service. `timeout_s`: of its statements.

    Raises: psycopg.OperationalError
    """
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION_SETTINGS.items())
    connection = DeadlineConnection.connect(
        conninfo,
        autocommit=autocommit,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name="fullstack-app",
        # So that the system closes an idle connection that a firewall has dropped.
        keepalives_idle=30,
        keepalives_interval=5,
        keepalives_count=3,
        options=f"{options} -c statement_timeout={int(timeout_s * 1000)}",
    )
    set_json_dumps(orjson.dumps, connection)
    # Only what Database.execute prepares is prepared, and not each frequent statement, among them searches.
    connection.prepare_threshold = sys.maxsize
    connection.prepared_max = _MAX_PREPARED
    connection.deadline_s = timeout_s + _GRACE_S
    return connection


def _signalled(error: Exception) -> Exception:
    """`error`, after the signal of its kind."""
    for receive in signals.database_failed if type(error) in _FAILURES else ():
        receive(_FAILURES[type(error)])
    return error


def _invalidate_if_closed(connection: DeadlineConnection, *_: object) -> None:
    """Let the pool replace all its connections if the server has closed this one, for example by a restart.

    An idle connection receives no other data. A poll takes microseconds; pool_pre_ping would take a round trip.
    """
    if not connection.closed:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        if not poll.poll(0):
            return
    raise sql_errors.InvalidatePoolError("PostgreSQL has closed this connection")


def _begin(connection: Connection) -> None:
    """Begin a transaction of SQLAlchemy. The connections are in autocommit mode, so that reads need no BEGIN."""
    if not connection.get_execution_options().get("autocommit"):
        connection.exec_driver_sql("BEGIN")


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
