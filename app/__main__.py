"""`python -m app`: prepare the database, serve, and stop without cutting a request.

The server starts at once and says over /api/health/ready that it is starting, while a
process of its own prepares the database. After SIGTERM the service first says that it
drains, for DRAIN_DELAY_S, so that a balancer turns away; then it takes no more
connections and lets the requests under way end.

Courier and watch have a process of their own, so that no thread of the launcher, which forks, holds a lock that a
worker needs. Each process proves from time to time that it works, and the launcher ends one that does not.

What all processes need is loaded and made once, in the launcher, and shared by those that it forks.
"""

import asyncio
import functools
import gc
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import MPServer

from app.config import Settings, load_settings
from app.errors import DomainError, SettingsError, StartError
from app.extensions import conninfo_of, resources
from app.factory import create_app
from app.infra.courier import Courier
from app.infra.heartbeats import Beating, beat, pause_s, reset, start_beating, stuck
from app.infra.logs import configure_logs
from app.infra.shared import Phase, SharedState
from app.infra.supervised import SupervisedProcess
from app.infra.watch import Watch
from app.rehearsal import rehearse
from app.services.founding import found_from_settings
from app.web.serving import AsgiApp

log = structlog.get_logger(__name__)

_STOP_S = 9.5
_BACKLOG = 2048
_RESPAWN_PAUSE_S = 1.0
_LATE_S = 1.0
_HEAD_LATE_MS = 30_000
"""How long a connection may be without a whole request line and headers; also between two requests."""
_LISTENER = 0
"""The place of courier and watch among those that give proofs (infra.heartbeats); workers have the places after it."""
_HEAD_BYTES = 65_536
"""A request line with its headers beyond this is refused by granian itself, with 431 and no body."""


class Server(MPServer):
    """Granian, with the phases of the service."""

    def __init__(self, settings: Settings, state: SharedState, application: Callable[[], Flask]) -> None:
        super().__init__(
            "app",
            interface=Interfaces.ASGINL,
            # While granian waits to see which version of HTTP comes, no time-out applies.
            http=HTTPModes.http1,
            address=settings.listen_address,
            port=settings.port,
            workers=settings.worker_count,
            websockets=False,
            backlog=_BACKLOG,
            # It bounds connections, not requests: idle keep-alive connections count.
            backpressure=_BACKLOG,
            http1_settings=HTTP1Settings(header_read_timeout=_HEAD_LATE_MS, max_buffer_size=_HEAD_BYTES),
            respawn_failed_workers=True,
            workers_kill_timeout=max(1, int(_STOP_S - settings.drain_delay_s)),
            log_enabled=False,
        )
        self.exit_code = 0
        self._settings, self._state = settings, state
        self._listener: SupervisedProcess | None = None
        self._preparing = multiprocessing.Process(target=_prepare, args=(settings, application), name="prepare")

    def startup(self, *args: Any) -> None:
        """Start the workers and the preparation side by side. Raises: StartError, when the port is taken"""
        # Another service may be serving there, with the same state.
        _check_port(self._settings)
        self._state.phase = Phase.STARTING
        self._state.closed = False
        self._state.as_role = False
        self._state.lease[0] = self._state.watched[0] = 0
        self._preparing.start()
        if self._settings.keeps_answers:
            self._listener = SupervisedProcess("listener", self._state, _LISTENER, _listen, self._settings)
        super().startup(*args)
        # After the workers: a thread is not forked with its process.
        threading.Thread(target=self._await_preparation, daemon=True).start()
        threading.Thread(target=self._replace_stuck, daemon=True).start()
        if self._listener is not None:
            self._listener.supervise()

    def shutdown(self, exit_code: int = 0) -> None:
        """Stop the workers, and then what keeps their memory true."""
        try:
            super().shutdown(exit_code)
        finally:
            if self._listener is not None:
                self._listener.close()
            self._state.lease[0] = self._state.watched[0] = 0

    def signal_handler_interrupt(self, *_: Any) -> None:
        """SIGTERM and SIGINT: drain, then stop. A second one stops at once."""
        if os.getpid() != self.pid:
            # A worker that still loads the application has this handler from us, and nothing to finish.
            os._exit(0)
        if self._state.phase is Phase.SERVING:
            self._state.phase = Phase.DRAINING
            log.info("draining", s=self._settings.drain_delay_s)
            threading.Timer(self._settings.drain_delay_s, super().signal_handler_interrupt).start()
        else:
            self._stop_at_once()

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:  # type: ignore[override]
        place = _LISTENER + 1 + idx
        reset(self._state, place)
        return super()._spawn_worker(idx, target, functools.partial(_worker_application, callback_loader, place))

    def _respawn_workers(self, workers: Any, *args: Any, **options: Any) -> None:
        """A worker ended by itself: maybe after a commit that it did not come to tell of."""
        self._state.doubt()
        self._state.touch_all()
        if any(time.monotonic() - self.wrks[idx].birth < _RESPAWN_PAUSE_S for idx in workers):
            time.sleep(_RESPAWN_PAUSE_S)
        super()._respawn_workers(workers, *args, **options)
        # Else granian ends the service when a worker ends twice within some seconds.
        self.respawned_wrks.clear()

    def _replace_stuck(self) -> None:
        """Kill processes that don't work any more; whoever waits for their end starts them again."""
        while not self.interrupt_signal:
            wait_s, began_s = pause_s(self._state), time.monotonic()
            time.sleep(wait_s)
            if time.monotonic() - began_s > wait_s + _LATE_S:
                # All were stopped, as by `docker pause`, or the machine is very busy.
                continue
            workers = [Beating(_LISTENER + 1 + one.idx, one.inner, one.birth) for one in list(self.wrks)]
            late = stuck(self._state, [*workers, self._listener.beating] if self._listener else workers)
            if late is None or self._state.phase not in (Phase.STARTING, Phase.SERVING):
                continue
            if late.process.is_alive():
                log.error("process_stuck", process=late.process.pid)
                late.process.kill()
            elif late.place != _LISTENER:
                # Granian may overlook the end of one of two workers that end at once.
                self.interrupt_children.append(late.place - _LISTENER - 1)
                self.main_loop_interrupt.set()

    def _stop_workers(self) -> None:
        workers = [worker.inner for worker in self.wrks]
        super()._stop_workers()
        for worker in workers:
            if worker.exitcode == -signal.SIGKILL:
                log.warning("worker_killed", worker=worker.pid, after_s=self.workers_kill_timeout)

    def _stop_at_once(self) -> None:
        """Nothing is served yet, or nobody wants to wait."""
        self.workers_kill_timeout = 1
        super().signal_handler_interrupt()

    def _await_preparation(self) -> None:
        self._preparing.join()
        if self._preparing.exitcode == 0 and self._state.phase is Phase.STARTING:
            self._state.phase = Phase.SERVING
            log.info("serving", address=self.bind_addr, port=self.bind_port, workers=self.workers)
        elif self._preparing.exitcode:
            self.exit_code = 1
            self._stop_at_once()


def main() -> int:
    """Serve until told to stop. Returns the exit status."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"fullstack-app does not start. {error}\n")
        return 2
    configure_logs(settings.log_level, settings.log_format)
    # Granian asks which it is. Forking saves a second and most of the memory, and is safe: nothing has connected yet.
    multiprocessing.set_start_method("fork" if sys.platform == "linux" else "spawn", force=True)
    state, application = SharedState(settings.state_path), _application()
    server = Server(settings, state, application)
    try:
        server.serve(target_loader=application, wrap_loader=False)
    except StartError as error:
        log.error("start_refused", cause=str(error))  # noqa: TRY400 - the sentence says it all
        return 1
    state.phase = Phase.UNMANAGED
    log.info("stopped")
    return server.exit_code


def _check_port(settings: Settings) -> None:
    """Refuse a port that somebody has: granian would share it, and requests would go to either. Raises: StartError"""
    family = socket.AF_INET6 if ":" in settings.listen_address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_address, settings.port))
        except OSError as error:
            place = f"{settings.listen_address}, port {settings.port} (LISTEN_ADDRESS, PORT)"
            raise StartError(f"can't listen on {place}: {error.strerror}") from None


def _application() -> Callable[[], Flask]:
    """What gives each process the application: made once, here, if processes are forked."""
    if multiprocessing.get_start_method() != "fork":
        return create_app
    application = create_app()
    rehearse(application)
    # The collector writes into all that it looks at, and what a process writes into is no longer shared.
    gc.collect()
    gc.freeze()
    return lambda: application


def _worker_application(make: Callable[[], Flask], place: int) -> AsgiApp:
    """The application of a worker, which from now on proves that it works.

    A signal to stop waits until the event loop runs, which would miss it before.
    """
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    asyncio.get_event_loop().call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, signals)
    application = make()
    start_beating(application.extensions["fullstack"].state, place)
    return AsgiApp(application)


def _listen(settings: Settings) -> None:
    """Hear what others change, until the launcher ends."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # From a terminal it comes to all processes, and the launcher drains first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(settings.log_level, settings.log_format)
    launcher, state = os.getppid(), SharedState(settings.state_path)
    Courier(settings.redis_address, state).start()
    Watch(functools.partial(conninfo_of, settings, state), state, settings.cache_ttl_s).start()
    while os.getppid() == launcher:
        beat(state, _LISTENER)


def _prepare(settings: Settings, application: Callable[[], Flask]) -> None:
    configure_logs(settings.log_level, settings.log_format)
    try:
        # Only this process needs Alembic, and it ends soon: loaded above, it would stay in all others.
        as_role = importlib.import_module("app.services.preparation").prepare(settings)
        with application().app_context():
            resources().state.as_role = as_role
            found_from_settings()
    except DomainError as error:
        log.error("start_refused", cause=str(error))  # noqa: TRY400 - the sentence says it all
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
