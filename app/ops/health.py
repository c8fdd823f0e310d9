"""Health checks of PostgreSQL and Redis. Each ends in bounded time, also when a server hangs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

import psycopg

from app.ops.circuit_breaker import CircuitBreaker
from app.ops.service_state import Phase, ServiceState

_TIMEOUT_S = 1.0
_KEPT_TIMEOUT_S = 0.3
"""Time-out of the kept connection, so that a new connection has the rest of the time."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check. error: the class of the error, never its text."""

    ok: bool
    latency_ms: float | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The JSON of /api/health."""
        if self.ok:
            return {"status": "ok", "latency_ms": self.latency_ms}
        return {"status": "down", "error": self.error}


class Checker:
    """Runs one check at a time; while it hangs, others fail. `ping`: raises an error if the server does not answer."""

    def __init__(self, ping: Callable[[], object]) -> None:
        self._ping = ping
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="health")
        self._busy = threading.Lock()

    def check(self) -> Check:
        """Check the server. It takes at most two seconds."""
        if not self._busy.acquire(timeout=_TIMEOUT_S):
            return Check(ok=False, error="Timeout")
        began = time.perf_counter()
        future = self._pool.submit(self._ping)
        future.add_done_callback(lambda _: self._busy.release())
        try:
            future.result(timeout=_TIMEOUT_S)
        except FutureTimeout:
            return Check(ok=False, error="Timeout")
        except Exception as error:  # noqa: BLE001 - an edge: the error is the result
            return Check(ok=False, error=error.__class__.__name__)
        return Check(ok=True, latency_ms=round(1000 * (time.perf_counter() - began), 2))

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown()


class Health:
    """The checks of one application.

    connect: opens a connection to PostgreSQL. Its arguments are the time-outs of connecting and of statements.
    ping_cache: uses the connections and time-outs of the cache. ping_redis: waits longer.
    """

    def __init__(
        self,
        state: ServiceState,
        connect: Callable[[float, float], psycopg.Connection[Any]],
        database_breaker: CircuitBreaker,
        ping_cache: Callable[[], object],
        ping_redis: Callable[[], object],
    ) -> None:
        self._state = state
        self._connect = connect
        self._database_breaker = database_breaker
        self._connection: psycopg.Connection[Any] | None = None
        self._is_as_role = False
        self._database = Checker(self._ping_database)
        self._cache = Checker(ping_cache)
        self._redis = Checker(ping_redis)

    def report(self) -> tuple[str, dict[str, Check]]:
        """The status and the checks. The status is ok, degraded (without Redis) or down (without PostgreSQL)."""
        checks = {"database": self._database.check(), "cache": self._cache.check()}
        if not checks["database"].ok:
            return "down", checks
        return ("ok" if checks["cache"].ok else "degraded"), checks

    def diagnosis(self) -> dict[str, Check]:
        """The checks of `flask doctor`, which waits longer for Redis than requests do."""
        return {"database": self._database.check(), "cache": self._redis.check()}

    def ready(self) -> bool:
        """Whether the service accepts requests: it serves, and PostgreSQL answers."""
        phase = self._state.phase
        return phase in (Phase.SERVING, Phase.UNMANAGED) and self._database.check().ok

    def close(self) -> None:
        """Stop all checks."""
        self._database.close()
        self._cache.close()
        self._redis.close()
        if self._connection is not None:
            self._connection.close()

    def _ping_database(self) -> None:
        """Use a connection outside of the pool, since a busy pool is no failure.

        The kept connection may have been closed meanwhile, so a new connection decides. Raises: psycopg.Error
        """
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
            except psycopg.Error:
                self._connection.close()
                self._connection = None
        if self._connection is None or self._is_as_role != self._state.is_role_available:
            self._is_as_role = self._state.is_role_available
            self._connection = self._connect(_TIMEOUT_S, _KEPT_TIMEOUT_S)
        self._database_breaker.worked()
