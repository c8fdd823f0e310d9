"""Connections to PostgreSQL: with this service's session settings, and never waited for without end."""

import functools
import hashlib
import re
import select
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import psycopg
from psycopg import errors, generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.types.json import set_json_dumps
from sqlalchemy.exc import InvalidatePoolError

from app.errors import N_, BadRequest

LOCK_WAIT_MS = 1500
"""How long a statement waits for a lock. A change of one user takes milliseconds; only SQL of others takes longer."""

# A sequential scan is never what a request should wait for.
_SESSION = {
    "jit": "off",
    "enable_seqscan": "off",
    "random_page_cost": "1.1",
    "work_mem": "32MB",
    "timezone": "UTC",
    "lock_timeout": f"{LOCK_WAIT_MS}ms",
    "idle_in_transaction_session_timeout": "60s",
}
MARK = "mark_internal_change()"
"""SQL that marks its transaction as ours: we write its history ourselves, and the triggers leave it to us."""
_CONNECT_TIMEOUT_S = 3
_GRACE_S = 0.5
_PARAMETER = re.compile(r"%\((\w+)\)s((?:::\w+)?)")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON; a backslash that is one of an even number of them stands for itself."""
_MOST_PREPARED = 200
"""On one connection; PostgreSQL keeps some 30 kB for each."""
_FINE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_LOST_CONNECTIONS = (
    # Class 08 without 08P01 (protocol_violation), which one message causes and which leaves the connection open.
    errors.ConnectionException,
    errors.SqlclientUnableToEstablishSqlconnection,
    errors.ConnectionDoesNotExist,
    errors.SqlserverRejectedEstablishmentOfSqlconnection,
    errors.ConnectionFailure,
    errors.TransactionResolutionUnknown,
    # 57P01 to 57P03: the server stops, has crashed, or is starting.
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
)
_BAD_DATA = (
    # Class 22, and values that psycopg itself can't convert.
    errors.DataError,
    # Class 54: too large or too complex.
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    errors.TooManyColumns,
    errors.TooManyArguments,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with $1, $2 ... for its values.

    With a name it is prepared once on each connection, and after a few times PostgreSQL plans it no more: half of its
    work and more, where a plan for any value looks no dearer to it than one for these. Without one it is planned for
    its values each time: a search that switched to a plan for any values took 2.4 s instead of 0.9 ms.
    """

    sql: str
    name: str = ""


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that hangs; PostgreSQL's own time-outs need it to run."""

    deadline_s: float | None = None
    prepared: frozenset[bytes] = frozenset()
    _poll: Any = None

    def answers_within(self, ms: int) -> bool:
        """Whether there is something to read, or the server has ended the connection, within `ms`."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.pgconn.socket, select.POLLIN)
        return bool(self._poll.poll(ms))

    def has_ended(self) -> bool:
        """Whether an idle connection is of no use any more.

        It has nothing to say: what can be read is its end. To look takes some microseconds, where to ask the server
        (pool_pre_ping) takes a round trip.
        """
        return bool(self.closed) or self.answers_within(0)

    def ask(self, statement: Statement, values: Sequence[bytes | None], longest_s: float | None = None) -> PGresult:
        """What a statement gives, its values and results as text, in one round trip (two when it is to be prepared).

        Outside of a transaction it is one of its own. It is cancelled after `longest_s`. Raises: psycopg.Error
        """
        name = statement.name.encode()
        is_known = name in self.prepared
        if not name or (not is_known and len(self.prepared) >= _MOST_PREPARED):
            self.pgconn.send_query_params(statement.sql.encode(), values)
            return self._result(longest_s)
        if not is_known:
            self.pgconn.send_prepare(name, statement.sql.encode())
            self._result()
            self.prepared |= {name}
        self.pgconn.send_query_prepared(name, values)
        return self._result(longest_s)

    def _result(self, longest_s: float | None = None) -> PGresult:
        if longest_s is not None and not self.answers_within(int(1000 * longest_s)):
            # PostgreSQL's answer is then that the statement was cancelled.
            self.cancel_safe(timeout=_CONNECT_TIMEOUT_S)
        result: PGresult = self.wait(generators.execute(self.pgconn))[-1]
        if result.status not in _FINE:
            raise error_from_result(result, self.info.encoding)
        return result

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


@functools.lru_cache(maxsize=1000)
def statement_of(sql: str, *, prepared: bool) -> tuple[Statement, tuple[str, ...]]:
    """SQL with %(name)s or %(name)s::type for its parameters as a statement, and the names of $1, $2 ...

    PostgreSQL plans a `prepared` one once: it sees no value before it runs, so that no other plan looks cheaper.
    """
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        place = f"${numbers.setdefault(found[1], len(numbers) + 1)}{found[2]}"
        return f"(SELECT {place})" if prepared else place

    text = _PARAMETER.sub(number, sql)
    name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest() if prepared else ""
    return Statement(text, name), tuple(numbers)


def as_texts(values: Iterable[object]) -> list[bytes | None]:
    """Values in the form in which PostgreSQL reads their types; bytes are that already. Raises: BadRequest"""
    texts = [_as_text(value) for value in values]
    if any(text is not None and b"\0" in text for text in texts):
        # It would end there, and be somebody else's name.
        raise _no_nul()
    return texts


def array_text(items: Iterable[str]) -> bytes:
    """An array of text in the form in which PostgreSQL reads it."""
    quoted = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return ("{" + ",".join(f'"{item}"' for item in quoted) + "}").encode()


def json_text(value: object) -> bytes:
    """JSON as PostgreSQL reads it. Raises: BadRequest"""
    text = orjson.dumps(value)
    if rb"\u0000" in text and _NUL.search(text):
        raise _no_nul()
    return text


def bytea_text(value: bytes) -> str:
    """Bytes in the form in which PostgreSQL reads them."""
    return f"\\x{value.hex()}"


def connect(conninfo: str, longest_s: float) -> DeadlineConnection:
    """A connection with this service's session settings, that gives up on what takes longer than `longest_s`.

    Raises: psycopg.OperationalError
    """
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    connection = DeadlineConnection.connect(
        conninfo,
        connect_timeout=_CONNECT_TIMEOUT_S,
        application_name="fullstack-app",
        # So that the system ends an idle connection that a firewall forgot, before somebody uses it.
        keepalives_idle=30,
        keepalives_interval=5,
        keepalives_count=3,
        options=f"{options} -c statement_timeout={int(longest_s * 1000)}",
    )
    set_json_dumps(orjson.dumps, connection)
    # psycopg would prepare what comes often, and so a search: see Statement.
    connection.prepare_threshold = None
    connection.deadline_s = longest_s + _GRACE_S
    return connection


def can_connect(conninfo: str | None) -> bool:
    """Whether a connection can be opened now. None: there is no such way."""
    if conninfo is None:
        return False
    try:
        psycopg.connect(conninfo, connect_timeout=_CONNECT_TIMEOUT_S).close()
    except psycopg.OperationalError:
        return False
    return True


def is_lost_connection(error: psycopg.Error) -> bool:
    """Whether the server, or the way to it, is gone: all other requests fail as well.

    What libpq reports itself (it can't connect, send or receive) has no SQLSTATE. Every other SQLSTATE is about one
    statement or one session.
    """
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return isinstance(error, _LOST_CONNECTIONS)


def is_bad_data(error: psycopg.Error) -> bool:
    """Whether a value of this request caused the error, so that the same request fails again."""
    return isinstance(error, _BAD_DATA)


def replace_if_ended(connection: DeadlineConnection, *_: object) -> None:
    """Let the pool replace its connections when the server has ended one, as its restart does."""
    if connection.has_ended():
        raise InvalidatePoolError("PostgreSQL has ended this connection")


def _no_nul() -> BadRequest:
    return BadRequest(N_("U+0000 is no part of any text here."))


def _as_text(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, (list, tuple)):
        return array_text(value)
    if isinstance(value, datetime):
        return value.isoformat().encode()
    return str(value).encode()
