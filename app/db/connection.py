"""Connections to PostgreSQL, with session settings and time-outs."""

import select
import sys
from typing import Any

import orjson
import psycopg
from psycopg.types.json import set_json_dumps
from sqlalchemy.exc import InvalidatePoolError

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
                self.cancel_safe(timeout=_CONNECT_TIMEOUT_S)
                return super().wait(gen, interval, self.deadline_s)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                # The server did not answer in time, or can't be reached: the connection can't be used again.
                self.pgconn.finish()
            raise


def connect(conninfo: str, timeout_s: float, *, autocommit: bool = False) -> DeadlineConnection:
    """Open a connection with the session settings of the service. `timeout_s`: of its statements.

    Raises: psycopg.OperationalError
    """
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION_SETTINGS.items())
    connection = DeadlineConnection.connect(
        conninfo,
        autocommit=autocommit,
        connect_timeout=_CONNECT_TIMEOUT_S,
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


def invalidate_if_closed(connection: DeadlineConnection, *_: object) -> None:
    """Let the pool replace all its connections if the server has closed this one, for example by a restart.

    An idle connection receives no other data. A poll takes microseconds; pool_pre_ping would take a round trip.
    """
    if not connection.closed:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        if not poll.poll(0):
            return
    raise InvalidatePoolError("PostgreSQL has closed this connection")
