"""Connections to PostgreSQL, with session settings and time-outs."""

import select
from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
from psycopg import generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.types.json import set_json_dumps
from sqlalchemy.exc import InvalidatePoolError

from app.db.statement import Statement

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
_CONNECT_TIMEOUT_S = 3
_GRACE_S = 0.5
_MAX_PREPARED = 200
"""Prepared statements of one connection. Each takes about 30 kB in PostgreSQL."""
_SUCCESS = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that closes itself if PostgreSQL does not answer within `deadline_s`.

    The time-outs of PostgreSQL itself don't work while its host hangs.
    """

    deadline_s: float | None = None
    prepared: frozenset[bytes] = frozenset()
    _poll: Any = None

    def is_readable(self, timeout_ms: int) -> bool:
        """Whether data arrives, or the server closes the connection, within `timeout_ms`."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.pgconn.socket, select.POLLIN)
        return bool(self._poll.poll(timeout_ms))

    def is_closed_by_server(self) -> bool:
        """Whether the server has closed this idle connection.

        An idle connection receives no other data. A poll takes microseconds; pool_pre_ping would take a round trip.
        """
        return bool(self.closed) or self.is_readable(0)

    def execute_prepared(
        self, statement: Statement, values: Sequence[bytes | None], timeout_s: float | None = None
    ) -> PGresult:
        """Execute a statement in one round trip, or in two if it has to be prepared. Values and results are texts.

        timeout_s: after it the statement is cancelled. Raises: psycopg.Error
        """
        name = statement.name.encode()
        is_prepared = name in self.prepared
        if not name or (not is_prepared and len(self.prepared) >= _MAX_PREPARED):
            self.pgconn.send_query_params(statement.sql.encode(), values)
            return self._fetch_result(timeout_s)
        if not is_prepared:
            self.pgconn.send_prepare(name, statement.sql.encode())
            self._fetch_result()
            self.prepared |= {name}
        self.pgconn.send_query_prepared(name, values)
        return self._fetch_result(timeout_s)

    def _fetch_result(self, timeout_s: float | None = None) -> PGresult:
        if timeout_s is not None and not self.is_readable(int(1000 * timeout_s)):
            # PostgreSQL then answers that the statement was cancelled.
            self.cancel_safe(timeout=_CONNECT_TIMEOUT_S)
        result: PGresult = self.wait(generators.execute(self.pgconn))[-1]
        if result.status not in _SUCCESS:
            raise error_from_result(result, self.info.encoding)
        return result

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait like psycopg, with `deadline_s` as the default of `timeout`.

        Raises: psycopg.OperationalError, without a SQLSTATE after the time-out
        """
        if timeout is not None or self.deadline_s is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.deadline_s)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                # The server did not answer in time, or can't be reached: the connection can't be used again.
                self.pgconn.finish()
            raise


def connect(conninfo: str, timeout_s: float) -> DeadlineConnection:
    """Open a connection with the session settings of the service. `timeout_s`: of its statements.

    Raises: psycopg.OperationalError
    """
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION_SETTINGS.items())
    connection = DeadlineConnection.connect(
        conninfo,
        connect_timeout=_CONNECT_TIMEOUT_S,
        application_name="fullstack-app",
        # So that the system closes an idle connection that a firewall has dropped.
        keepalives_idle=30,
        keepalives_interval=5,
        keepalives_count=3,
        options=f"{options} -c statement_timeout={int(timeout_s * 1000)}",
    )
    set_json_dumps(orjson.dumps, connection)
    # psycopg would prepare frequent statements, among them searches: see Statement.
    connection.prepare_threshold = None
    connection.deadline_s = timeout_s + _GRACE_S
    return connection


def can_connect(conninfo: str | None) -> bool:
    """Whether a connection can be opened. With None: False."""
    if conninfo is None:
        return False
    try:
        psycopg.connect(conninfo, connect_timeout=_CONNECT_TIMEOUT_S).close()
    except psycopg.OperationalError:
        return False
    return True


def invalidate_if_closed(connection: DeadlineConnection, *_: object) -> None:
    """Let the pool replace all its connections if the server has closed this one, for example by a restart."""
    if connection.is_closed_by_server():
        raise InvalidatePoolError("PostgreSQL has closed this connection")
