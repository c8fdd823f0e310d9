"""`python -m app`: prepares the database, serves, and stops without interrupting a request.

The workers start at once, while another process prepares the database: until then /api/health/ready is 503. After
SIGTERM it is 503 again for DRAIN_DELAY_S, so that a load balancer sends no more requests. Then the service accepts no
more connections, and finishes the present requests.

The launcher creates the application once, and forks all processes with it.
"""

import gc
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from typing import Any

import structlog
from flask import Flask

from app.cache.change_poller import ChangePoller
from app.cache.generations import POLLER_ROW
from app.config import Settings, load_settings
from app.db.index_cleaner import IndexCleaner
from app.errors import DomainError, OperatorError, SettingsError, StartError
from app.factory import create_app
from app.http.granian_adapter import serve
from app.http.services import Infrastructure, services, services_of
from app.ops.logging_config import configure_logs
from app.ops.service_state import Phase
from app.ops.supervisor import SupervisedProcess, Supervisor

log = structlog.get_logger(__name__)

_STOP_S = 9.5
"""Duration of a stop. Docker kills the container after ten seconds."""
_STOP_AT_ONCE_S = 1.0
_START_POLL_S = 0.05
_POLLER = POLLER_ROW
"""Index of the change poller among the processes of a service. The workers have the following indexes."""


class Launcher:
    """Runs one service: its phases and its processes."""

    def __init__(self, app: Flask) -> None:
        services = services_of(app)
        self._settings, self._state = services.settings, services.infrastructure.state
        poller = SupervisedProcess("change_poller", self._state, _POLLER, _poll, services.infrastructure)
        workers = [
            SupervisedProcess(f"worker-{index}", self._state, index, _work, app, index)
            for index in range(_POLLER + 1, _POLLER + 1 + self._settings.worker_count)
        ]
        self._supervisor = Supervisor([poller, *workers])
        self._preparing = multiprocessing.Process(target=_prepare, args=(app,), name="prepare")
        self._signals, self._woken = socket.socketpair()
        self._stop_at_s: float | None = None
        self._stop_within_s = _STOP_AT_ONCE_S
        self._exit_code = 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status. Raises: StartError, if the port is in use"""
        _check_port(self._settings)
        self._handle_signals()
        self._state.phase = Phase.STARTING
        self._preparing.start()
        self._supervisor.start()
        while self._stop_at_s is None or time.monotonic() < self._stop_at_s:
            self._await_event()
            self._supervisor.repair()
        self._preparing.kill()
        self._supervisor.stop(self._stop_within_s)
        return self._exit_code

    def _await_event(self) -> None:
        timeout_s = _STOP_S if self._stop_at_s is None else max(0.0, self._stop_at_s - time.monotonic())
        is_preparing = self._state.phase == Phase.STARTING
        ready = self._supervisor.wait([self._woken, *([self._preparing.sentinel] if is_preparing else [])], timeout_s)
        if self._woken in ready:
            self._woken.recv(1024)
        if is_preparing and self._preparing.sentinel in ready:
            self._finish_preparing()

    def _finish_preparing(self) -> None:
        self._preparing.join()
        if self._preparing.exitcode:
            self._exit_code, self._stop_at_s = 1, 0.0
        elif self._state.phase == Phase.STARTING:
            self._state.phase = Phase.SERVING
            log.info(
                "serving",
                address=self._settings.listen_address,
                port=self._settings.port,
                workers=self._settings.worker_count,
            )

    def _handle_signals(self) -> None:
        for end in (self._signals, self._woken):
            end.setblocking(False)  # noqa: FBT003 - it has no keyword
        # So that a signal ends _await_event.
        signal.set_wakeup_fd(self._signals.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle_signal)

    def _handle_signal(self, *_: Any) -> None:
        """Drain, then stop. Stop at once if the service does not serve yet, or at the second signal."""
        if self._state.phase == Phase.SERVING:
            self._state.phase = Phase.DRAINING
            log.info("draining", s=self._settings.drain_delay_s)
            self._stop_at_s = time.monotonic() + self._settings.drain_delay_s
            self._stop_within_s = _STOP_S - self._settings.drain_delay_s
        else:
            self._stop_at_s, self._stop_within_s = 0.0, _STOP_AT_ONCE_S


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"fullstack-app does not start. {error}\n")
        return 2
    configure_logs(settings.log_level, settings.log_format)
    # Forking saves a second and most of the memory. It is safe: there are no connections and no other threads.
    multiprocessing.set_start_method("fork", force=True)
    app = create_app()
    # The garbage collector writes into the objects that it visits, and written memory is no longer shared.
    gc.collect()
    gc.freeze()
    try:
        exit_code = Launcher(app).run()
    except StartError as error:
        log.error("start_refused", cause=str(error))  # noqa: TRY400 - the message is complete
        return 1
    log.info("stopped")
    return exit_code


def _check_port(settings: Settings) -> None:
    """Refuse a port that is in use. Granian would share it, and get only some requests. Raises: StartError"""
    family = socket.AF_INET6 if ":" in settings.listen_address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_address, settings.port))
        except OSError as error:
            address = f"{settings.listen_address}, port {settings.port} (LISTEN_ADDRESS, PORT)"
            raise StartError(f"can't listen on {address}: {error.strerror}") from None


def _work(app: Flask, index: int) -> None:
    """Serve requests until SIGTERM."""
    services_of(app).infrastructure.generations.use_row(index)
    serve(app)


def _poll(infrastructure: Infrastructure) -> None:
    """Run the change poller."""
    infrastructure.generations.use_row(_POLLER)
    while infrastructure.state.phase == Phase.STARTING:
        # The history exists only after the migration.
        time.sleep(_START_POLL_S)
    cleaner = IndexCleaner(infrastructure.database.connect)
    cleaner.start()
    ChangePoller(
        infrastructure.database.connect,
        infrastructure.generations,
        infrastructure.known_changes,
        cleaner.request,
    ).run()


def _prepare(app: Flask) -> None:
    signal.set_wakeup_fd(-1)
    try:
        # Only this process needs Alembic. An import at the top would load it into all processes.
        migrate = importlib.import_module("app.db.migrate")
        with app.app_context():
            services().infrastructure.state.is_role_available = migrate.prepare(services().settings)
            services().bootstrap_admin.create_from_settings()
    except (DomainError, OperatorError) as error:
        log.error("start_refused", cause=str(error))  # noqa: TRY400 - the message is complete
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
