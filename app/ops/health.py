"""Whether the service and what it stands on work. Answers in bounded time, also when something hangs."""

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

_PATIENCE_S = 1.0
_KEPT_PATIENCE_S = 0.3
"""How long a connection of before is waited for, so that a fresh one has the rest of the time."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked whether it works. `error` is a kind of error, never its text."""

    ok: bool
    latency_ms: float | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For /api/health."""
        if self.ok:
            return {"status": "ok", "latency_ms": self.latency_ms}
        return {"status": "down", "error": self.error}


class Checker:
    """Asks one thing at a time whether it works; while a question hangs, the answer is no, and no second one is put."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="health")
        self._busy = threading.Lock()

    def check(self) -> Check:
        """Ask, and wait for a second at the most."""
        if not self._busy.acquire(timeout=_PATIENCE_S):
            return Check(ok=False, error="Timeout")
        began = time.perf_counter()
        future = self._pool.submit(self._ask)
        future.add_done_callback(lambda _: self._busy.release())
        try:
            future.result(timeout=_PATIENCE_S)
        except FutureTimeout:
            return Check(ok=False, error="Timeout")
        except Exception as error:  # noqa: BLE001 - an edge: whatever the question raises is the answer
            return Check(ok=False, error=error.__class__.__name__)
        return Check(ok=True, latency_ms=round(1000 * (time.perf_counter() - began), 2))

    def close(self) -> None:
        """Ask nothing any more."""
        self._pool.shutdown()


class Health:
    """The checks of one application.

    connect: a new connection to PostgreSQL, in so many seconds, each of whose statements ends after so many; it raises
    psycopg.Error.
    ping_cache, ping_redis: ask Redis as requests do, and with more patience; they raise what redis does.
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
        self._as_role = False
        self._database = Checker(self._ask_database)
        self._cache = Checker(ping_cache)
        self._redis = Checker(ping_redis)

    def report(self) -> tuple[str, dict[str, Check]]:
        """ok, degraded (without Redis) or down (without PostgreSQL), and each check."""
        checks = {"database": self._database.check(), "cache": self._cache.check()}
        if not checks["database"].ok:
            return "down", checks
        return ("ok" if checks["cache"].ok else "degraded"), checks

    def diagnosis(self) -> dict[str, Check]:
        """Each check as a person puts it, who waits longer for Redis than a request, which goes on without it."""
        return {"database": self._database.check(), "cache": self._redis.check()}

    def ready(self) -> bool:
        """Whether to send requests here.

        Not while starting, migrating or draining, nor without PostgreSQL.
        """
        phase = self._state.phase
        return phase in (Phase.SERVING, Phase.UNMANAGED) and self._database.check().ok

    def close(self) -> None:
        """Check nothing any more."""
        self._database.close()
        self._cache.close()
        self._redis.close()
        if self._connection is not None:
            self._connection.close()

    def _ask_database(self) -> None:
        """On a connection of its own: a busy pool is no illness.

        The one of before may have been ended or cut off meanwhile, so a fresh one decides. Raises: psycopg.Error
        """
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
            except psycopg.Error:
                self._connection.close()
                self._connection = None
        if self._connection is None or self._as_role != self._state.as_role:
            self._as_role = self._state.as_role
            self._connection = self._connect(_PATIENCE_S, _KEPT_PATIENCE_S)
        self._database_breaker.worked()
