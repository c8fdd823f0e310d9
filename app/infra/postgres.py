"""Connections to PostgreSQL: with this service's session settings, and never waited for without end."""

import select
from typing import Any

import orjson
import psycopg
from psycopg.types.json import set_json_dumps
from sqlalchemy.exc import InvalidatePoolError

# A search that switched to a generic plan took 2.4 s instead of 0.9 ms, and a
# sequential scan is never what a request should wait for.
_SESSION = {
    "jit": "off",
    "enable_seqscan": "off",
    "random_page_cost": "1.1",
    "plan_cache_mode": "force_custom_plan",
    "work_mem": "32MB",
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": "60s",
}
_CONNECT_TIMEOUT_S = 3
_GRACE_S = 0.5


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that hangs; PostgreSQL's own time-outs need it to run."""

    deadline_s: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's, with `deadline_s` for what nobody gave a time-out. Closes itself when that is over.

        Raises: psycopg.OperationalError
        """
        if timeout is not None or self.deadline_s is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.deadline_s)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError("PostgreSQL did not answer in time") from None


def connect(url: str, longest_s: float) -> DeadlineConnection:
    """A connection with this service's session settings, that gives up on what takes longer than `longest_s`.

    Raises: psycopg.OperationalError
    """
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    connection = DeadlineConnection.connect(
        url,
        connect_timeout=_CONNECT_TIMEOUT_S,
        application_name="fullstack-app",
        options=f"{options} -c statement_timeout={int(longest_s * 1000)}",
    )
    set_json_dumps(orjson.dumps, connection)
    connection.deadline_s = longest_s + _GRACE_S
    return connection


def replace_if_ended(connection: DeadlineConnection, *_: object) -> None:
    """Let the pool replace its connections when the server has ended one, as its restart does.

    An idle connection has nothing to say: what can be read is its end. To look takes some
    microseconds, where to ask the server (pool_pre_ping) takes a round trip.
    """
    if not connection.closed:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if not poll.poll(0):
            return
    raise InvalidatePoolError("PostgreSQL has ended this connection")
