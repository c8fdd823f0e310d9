"""A process that is started again whenever it ends.

For threads that the launcher must not have, since it forks workers: what a thread has locked at that moment (the shared
state, the resolver of the C library, an import) would stay locked in the worker for good.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from app.infra.heartbeats import Beating, reset
from app.infra.shared import SharedState

log = structlog.get_logger(__name__)

_PAUSE_S = 0.5


class SupervisedProcess:
    """Runs `target(*args)` until `close`. The process gives proofs at `place` (infra.heartbeats)."""

    def __init__(self, name: str, state: SharedState, place: int, target: Callable[..., None], *args: Any) -> None:
        self._name, self._state, self._place = name, state, place
        self._target, self._args = target, args
        self._closed = threading.Event()
        self._begin()

    @property
    def beating(self) -> Beating:
        """The process that runs, or ran last."""
        return Beating(self._place, self._process, self._born_s)

    def supervise(self) -> None:
        """Start it again from now on, whenever it ends."""
        threading.Thread(target=self._supervise, name=self._name, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self._process.terminate()
        self._process.join()

    def _begin(self) -> None:
        reset(self._state, self._place)
        self._born_s = time.monotonic()
        self._process = multiprocessing.Process(target=self._target, args=self._args, name=self._name, daemon=True)
        self._process.start()

    def _supervise(self) -> None:
        while True:
            self._process.join()
            if self._closed.wait(_PAUSE_S):
                return
            log.warning("process_ended", process=self._name, exit_code=self._process.exitcode)
            self._begin()
