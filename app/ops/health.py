"""Health checks of PostgreSQL and Redis. Each ends in bounded time, also when a server hangs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import psycopg
from pydantic import BaseModel

from app.ops.circuit_breaker import CircuitBreaker
from app.ops.service_state import Phase, ServiceState

_TIMEOUT_S = 1.0
_KEPT_TIMEOUT_S = 0.3
"""Time-out of the kept connection, so that a new connection has the rest of the time."""


class CheckReport(BaseModel):
    """The state of a service that this service depends on: `ok` or `down`, with the class of the error."""

    status: str
    latency_ms: float | None = None
    error: str | None = None


class Checker:
    """Runs one check at a time; while it hangs, others fail. `ping`: raises an error if the server does not answer."""

    def __init__(self, ping: Callable[[], object]) -> None:
        self._ping = ping
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="health")
        self._busy = threading.Lock()

    def check(self) -> CheckReport:
        """Check the server. It takes at most two seconds."""
        if not self._busy.acquire(timeout=_TIMEOUT_S):
            return CheckReport(status="down", error="Timeout")
        began = time.perf_counter()
        future = self._pool.submit(self._ping)
        future.add_done_callback(lambda _: self._busy.release())
        try:
            future.result(timeout=_TIMEOUT_S)
        except FutureTimeout:
            return CheckReport(status="down", error="Timeout")
        except Exception as error:  # noqa: BLE001 - an edge: the error is the result
            return CheckReport(status="down", error=error.__class__.__name__)
        return CheckReport(status="ok", latency_ms=round(1000 * (time.perf_counter() - began), 2))

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown()


class Health:
    """The checks of one application.

    connect: opens a connection to PostgreSQL. Its arguments: the time-out of statements, and when it closes itself.
    ping_cache: uses the connections and time-outs of the cache. database, cache: the checks.
    """

    def __init__(
        self,
        state: ServiceState,
        connect: Callable[[float, float], psycopg.Connection[Any]],
        database_breaker: CircuitBreaker,
        ping_cache: Callable[[], object],
    ) -> None:
        self._state = state
        self._connect = connect
        self._database_breaker = database_breaker
        self._connection: psycopg.Connection[Any] | None = None
        self._is_as_role = False
        self.database = Checker(self._ping_database)
        self.cache = Checker(ping_cache)

    def report(self) -> tuple[str, dict[str, CheckReport]]:
        """The status and the checks. The status is ok, degraded (without Redis) or down (without PostgreSQL)."""
        checks = {"database": self.database.check(), "cache": self.cache.check()}
        if checks["database"].status == "down":
            return "down", checks
        return ("ok" if checks["cache"].status == "ok" else "degraded"), checks

    def ready(self) -> bool:
        """Whether the service accepts requests: it serves, and PostgreSQL answers."""
        phase = self._state.phase
        return phase in (Phase.SERVING, Phase.UNMANAGED) and self.database.check().status == "ok"

    def close(self) -> None:
        """Stop all checks."""
        self.database.close()
        self.cache.close()
        if self._connection is not None:
            self._connection.close()

    def _ping_database(self) -> None:
        """Use a connection outside of the pool, since a busy pool is no failure.

        The kept connection may have been closed meanwhile, so a new connection decides. Raises: psycopg.Error
        """
        if not self._kept_connection_answers():
            if self._connection is not None:
                self._connection.close()
            self._is_as_role = self._state.is_role_available
            self._connection = self._connect(_TIMEOUT_S, _KEPT_TIMEOUT_S)
        self._database_breaker.worked()

    def _kept_connection_answers(self) -> bool:
        """Whether there is a kept connection, of the role that the service uses now, and PostgreSQL answers on it."""
        if self._connection is None or self._is_as_role != self._state.is_role_available:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True
