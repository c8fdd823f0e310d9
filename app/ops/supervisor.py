"""Keeps the processes of a service running: one that ends is started again, one that hangs is killed.

The launcher that does this has one thread. A process is forked whenever another one has ended: what a thread of the
launcher had locked at that moment would stay locked in it.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from app.ops.service_state import ServiceState

log = structlog.get_logger(__name__)

PROOF_EVERY_S = 5.0
"""How often a process proves that it works, and the launcher looks at the proofs of all."""
_GRACE_S = 8.0
"""How late a proof may be: far longer than on a busy machine."""
_BIRTH_GRACE_S = 20.0
"""How long a new process may take to its first proof."""
_LATE_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAUNCHER_ENDED, _LAUNCHER_OPEN = os.pipe()
"""The launcher alone keeps the second end open: when it has ended, however that was, the first one is at its end."""
_RESTART_PAUSE_S = 1.0
"""The least time between two starts of one process."""


class SupervisedProcess:
    """Runs `target(*args)` at `place`, by which its proofs are found; no two processes have the same."""

    def __init__(self, name: str, state: ServiceState, place: int, target: Callable[..., None], *args: Any) -> None:
        self.name, self._state, self._place = name, state, place
        self._target, self._args = target, args
        self.process: BaseProcess | None = None
        self._started_s = 0.0

    def start(self) -> None:
        """Start it, or start it again."""
        self._state.proofs[self._place] = 0
        self._started_s = time.monotonic()
        self.process = multiprocessing.Process(target=self._run, name=self.name, daemon=True)
        # What comes while the new process still has the launcher's handlers waits until it has its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self.process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def restart_if_ended(self) -> None:
        """Start it again if it has ended, unless it was started a moment ago."""
        ended = self.process is None or self.process.exitcode is not None
        if ended and time.monotonic() - self._started_s >= _RESTART_PAUSE_S:
            log.warning("process_ended", process=self.name, exit_code=self.process.exitcode if self.process else None)
            self.start()

    def _run(self) -> None:
        """In the new process."""
        # From a terminal it comes to all processes, and the launcher drains first.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(_LAUNCHER_OPEN)
        threading.Thread(target=self._prove, name="proofs", daemon=True).start()
        threading.Thread(target=_end_with_launcher, name="launcher", daemon=True).start()
        self._target(*self._args)

    def _prove(self) -> None:
        """Prove from time to time that this process works."""
        while True:
            self._state.proofs[self._place] = time.monotonic_ns() + int(1e9 * PROOF_EVERY_S)
            time.sleep(PROOF_EVERY_S)

    @property
    def overdue_s(self) -> float:
        """For how long a proof has been due; negative: it is not due yet."""
        due_ns = self._state.proofs[self._place]
        due_s = due_ns / 1e9 if due_ns else self._started_s + _BIRTH_GRACE_S
        return time.monotonic() - due_s


class Supervisor:
    """Of the given processes, in the order in which they are started."""

    def __init__(self, processes: Sequence[SupervisedProcess]) -> None:
        self._processes = processes
        self._look_at_s = time.monotonic() + PROOF_EVERY_S

    def start(self) -> None:
        """Start all."""
        for one in self._processes:
            one.start()

    def wait(self, others: Sequence[Any], timeout_s: float) -> list[Any]:
        """Wait until a process ends, one of `others` is ready, or the time is over. Returns which of `others` are."""
        sentinels = [one.process.sentinel for one in self._processes if one.process and one.process.exitcode is None]
        ready = wait([*sentinels, *others], min(timeout_s, PROOF_EVERY_S))
        return [one for one in ready if one in others]

    def repair(self) -> None:
        """Start again what has ended; kill the process whose proof is the most overdue, if it is too late."""
        for one in self._processes:
            one.restart_if_ended()
        now = time.monotonic()
        if now < self._look_at_s:
            return
        # All were stopped, as by `docker pause`, or the machine is very busy: look again later.
        was_stopped = now > self._look_at_s + PROOF_EVERY_S + _LATE_S
        self._look_at_s = now + PROOF_EVERY_S
        latest = max(self._processes, key=lambda one: one.overdue_s)
        if latest.overdue_s > _GRACE_S and not was_stopped and latest.process is not None:
            log.error("process_stuck", process=latest.process.pid, name=latest.name)
            latest.process.kill()

    def stop(self, timeout_s: float) -> None:
        """Tell all to stop, and kill those that have not ended in time."""
        until = time.monotonic() + timeout_s
        for one in self._processes:
            if one.process is not None:
                one.process.terminate()
        for one in self._processes:
            if one.process is not None:
                one.process.join(max(0.0, until - time.monotonic()))
                if one.process.exitcode is None:
                    log.warning("process_killed", process=one.process.pid, name=one.name, after_s=timeout_s)
                    one.process.kill()
                    one.process.join()


def _end_with_launcher() -> None:
    """End this process as soon as the launcher has ended."""
    os.read(_LAUNCHER_ENDED, 1)
    os._exit(1)
