"""Supervises the processes of a service: restarts a process that has ended, and kills a process that hangs.

The launcher has one thread, because a lock that another thread holds would stay locked in a forked process.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from app import signals
from app.ops.service_state import ServiceState

log = structlog.get_logger(__name__)

HEARTBEAT_INTERVAL_S = 5.0
"""The interval at which processes send heartbeats, and the launcher checks them."""
_GRACE_S = 8.0
"""How late a heartbeat may be. On a busy machine it is far less."""
_FIRST_GRACE_S = 20.0
"""How long the first heartbeat of a new process may take."""
_LATE_S = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_STOP_SIGNALS, signal.SIGCHLD, signal.SIGALRM)
"""The launcher blocks these signals, and waits for them."""
_LAUNCHER_READ_END, _LAUNCHER_WRITE_END = os.pipe()
"""Only the launcher keeps the write end open. When the launcher has ended, reading returns the end of the file."""
_RESTART_PAUSE_S = 1.0
"""The minimum time between two starts of a process."""


class SupervisedProcess:
    """Runs `target(*args)` in a process. `index`: that of its heartbeat, unique among the processes."""

    process: BaseProcess
    """Set by `start`."""

    def __init__(self, name: str, state: ServiceState, index: int, target: Callable[..., None], *args: Any) -> None:
        self.name, self._state, self._index = name, state, index
        self._target, self._args = target, args
        self._started_s = 0.0

    def start(self) -> None:
        """Start the process, also after it has ended."""
        self._state.heartbeats[self._index] = 0
        self._started_s = time.monotonic()
        self.process = multiprocessing.Process(target=self._run, name=self.name, daemon=True)
        self.process.start()

    def restart_if_ended(self) -> None:
        """Start the process again if it has ended, at most once per _RESTART_PAUSE_S."""
        exit_code = self.process.exitcode
        if exit_code is not None and time.monotonic() - self._started_s >= _RESTART_PAUSE_S:
            log.warning("process_ended", process=self.name, exit_code=exit_code)
            for receive in signals.process_restarted:
                receive(self.name)
            self.start()

    def _run(self) -> None:
        """The main function of the new process."""
        depend_on_launcher()
        for receive in signals.process_started:
            receive(self._index)
        threading.Thread(target=self._send_heartbeats, name="heartbeats", daemon=True).start()
        self._target(*self._args)

    def _send_heartbeats(self) -> None:
        while True:
            self._state.heartbeats[self._index] = time.monotonic_ns() + int(1e9 * HEARTBEAT_INTERVAL_S)
            time.sleep(HEARTBEAT_INTERVAL_S)

    @property
    def overdue_s(self) -> float:
        """How late the heartbeat is; negative before it is due."""
        due_ns = self._state.heartbeats[self._index]
        due_s = due_ns / 1e9 if due_ns else self._started_s + _FIRST_GRACE_S
        return time.monotonic() - due_s


class Supervisor:
    """Supervises `processes`, which it starts in their order."""

    def __init__(self, processes: Sequence[SupervisedProcess]) -> None:
        self._processes = processes
        self._next_check_s = time.monotonic() + HEARTBEAT_INTERVAL_S

    def start(self) -> None:
        """Block the signals that `wait` waits for, and start all processes. They unblock the signals."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        # Without a handler, macOS discards this signal, although it is blocked.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for each in self._processes:
            each.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a signal or the end of a process. Returns whether to stop.

        timeout_s: the longest time, above 0. It also ends when heartbeats or an ended process are due.
        """
        has_ended = any(each.process.exitcode is not None for each in self._processes)
        interval_s = _RESTART_PAUSE_S if has_ended else HEARTBEAT_INTERVAL_S
        signal.setitimer(signal.ITIMER_REAL, min(timeout_s, interval_s))
        return signal.sigwait(_SIGNALS) in _STOP_SIGNALS

    def repair(self) -> None:
        """Restart ended processes. Kill the process with the latest heartbeat if that is overdue."""
        for each in self._processes:
            each.restart_if_ended()
        now = time.monotonic()
        if now < self._next_check_s:
            return
        # All processes were stopped, for example by `docker pause`, or the machine is very busy: check again later.
        was_stopped = now > self._next_check_s + HEARTBEAT_INTERVAL_S + _LATE_S
        self._next_check_s = now + HEARTBEAT_INTERVAL_S
        latest = max(self._processes, key=lambda each: each.overdue_s)
        if latest.overdue_s > _GRACE_S and not was_stopped:
            log.error("process_stuck", process=latest.process.pid, name=latest.name)
            latest.process.kill()

    def stop(self, timeout_s: float) -> None:
        """Send SIGTERM to all processes, and kill those that have not ended in time."""
        until = time.monotonic() + timeout_s
        for each in self._processes:
            each.process.terminate()
        for each in self._processes:
            each.process.join(max(0.0, until - time.monotonic()))
            if each.process.exitcode is None:
                log.warning("process_killed", process=each.process.pid, name=each.name, after_s=timeout_s)
                each.process.kill()
                each.process.join()


def depend_on_launcher() -> None:
    """Let this process, which the launcher has forked, receive signals, and end when the launcher has ended."""
    # A terminal sends SIGINT to all processes, but the launcher drains first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    os.close(_LAUNCHER_WRITE_END)
    threading.Thread(target=_end_with_launcher, name="launcher", daemon=True).start()


def _end_with_launcher() -> None:
    """End this process when the launcher has ended."""
    os.read(_LAUNCHER_READ_END, 1)
    os._exit(1)
