"""A circuit breaker: stops requests from using a server that is away, and probes it in the background."""

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class CircuitBreaker:
    """Knows whether a thing answers. Requests ask `up`, which costs nothing, and report what failed.

    While it is down a thread tries `probe` again and again, with growing pauses. So a
    request never waits for a name look-up, a connection or a time-out of a thing that
    is known to be away. `probe` raises when the thing does not answer yet.
    """

    def __init__(self, name: str, probe: Callable[[], None]) -> None:
        self.name = name
        self.error = ""
        self._probe = probe
        self._up = True
        self._losses = 0
        self._lost_at = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def up(self) -> bool:
        """Whether the last that was heard of the thing was good."""
        return self._up

    def failed(self, error: BaseException) -> None:
        """Somebody could not use the thing: stop all others from trying until a probe succeeds."""
        with self._lock:
            if not self._up or self._closed.is_set():
                return
            self._up = False
            self._losses += 1
            self._lost_at = time.monotonic()
            self.error = error.__class__.__name__
        log.warning("lost", what=self.name, error=self.error)
        name, loss = f"probe-{self.name}", self._losses
        threading.Thread(target=self._keep_probing, args=(loss,), name=name, daemon=True).start()

    def worked(self) -> None:
        """Somebody, such as a health check, could use the thing: let all others try without waiting for a probe."""
        with self._lock:
            if self._up:
                return
            self._up, self.error = True, ""
        log.info("back", what=self.name, away_s=round(time.monotonic() - self._lost_at, 3))

    def close(self) -> None:
        """End the probing thread, if there is one."""
        self._closed.set()

    def _keep_probing(self, loss: int) -> None:
        """Probe until the thing works again after its loss number `loss`."""
        pause_s = _FIRST_PAUSE_S
        while not (self._up or self._losses != loss or self._closed.is_set()):
            try:
                self._probe()
            # Whatever a probe raises means "not yet"; what it was is told by /api/health.
            except Exception as error:  # noqa: BLE001 - the edge of a thread
                self.error = error.__class__.__name__
                self._closed.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self.worked()
