"""A circuit breaker: requests don't use a server that has failed, and a thread probes it until it answers."""

import threading
import time
from collections.abc import Callable

import structlog

from app import signals

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 1.0


class CircuitBreaker:
    """Knows whether a server answers. Requests check `up` first, and report failures.

    No request waits for a name look-up, a connection or a time-out of a server that is known to be unavailable.
    up: whether the server answered when it was used last.
    probe: raises an error while the server does not answer. It is repeated with growing pauses.
    """

    def __init__(self, name: str, probe: Callable[[], object]) -> None:
        self.name = name
        self._probe = probe
        self.up = True
        self._failures = 0
        self._failed_at_s = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def failed(self, error: BaseException) -> None:
        """Report that the server did not answer: no request uses it until a probe succeeds."""
        with self._lock:
            if not self.up or self._closed.is_set():
                return
            self.up = False
            self._failures += 1
            self._failed_at_s = time.monotonic()
            for receive in signals.breaker_changed:
                receive(self.name, not self.up)
        log.warning("server_unavailable", server=self.name, error=error.__class__.__name__)
        name, failure = f"probe-{self.name}", self._failures
        threading.Thread(target=self._keep_probing, args=(failure,), name=name, daemon=True).start()

    def worked(self) -> None:
        """Report that the server answered, for example in a health check: requests use it again."""
        with self._lock:
            if self.up:
                return
            self.up = True
            for receive in signals.breaker_changed:
                receive(self.name, not self.up)
        log.info("server_available", server=self.name, unavailable_s=round(time.monotonic() - self._failed_at_s, 3))

    def close(self) -> None:
        """Stop probing."""
        self._closed.set()

    def _keep_probing(self, failure: int) -> None:
        """Probe until the server answers, or another thread probes for a later failure."""
        pause_s = _FIRST_PAUSE_S
        while not (self.up or self._failures != failure or self._closed.is_set()):
            try:
                self._probe()
            # Any error means that the server does not answer.
            except Exception:  # noqa: BLE001 - the edge of a thread
                self._closed.wait(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            else:
                self.worked()
