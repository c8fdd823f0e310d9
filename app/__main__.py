"""`python -m app`: prepares the database, serves, and stops without interrupting a request.

The workers start at once, while another process prepares the database: until then /api/health/ready is 503. After
SIGTERM it is 503 again for DRAIN_DELAY_S, so that a load balancer sends no more requests. Then the service accepts no
more connections, and finishes the present requests.

The launcher creates the application once, and forks all processes with it.
"""

import contextlib
import functools
import gc
import importlib
import math
import multiprocessing
import os
import socket
import sys
import time

import structlog
from flask import Flask

from app.cache.change_poller import ChangePoller
from app.cache.generations import POLLER_ROW
from app.config import Settings
from app.db.index_cleaner import IndexCleaner
from app.errors import DomainError, OperatorError, SettingsError, StartError
from app.extensions import db
from app.factory import create_app
from app.http.granian_adapter import serve
from app.http.services import services, services_of
from app.ops.backup_status import read_backup_status
from app.ops.metrics import Metrics
from app.ops.service_state import Phase
from app.ops.supervisor import SupervisedProcess, Supervisor, depend_on_launcher
from app.routes import interface_of

log = structlog.get_logger(__name__)

_STOP_S = 9.5
"""Duration of a stop. Docker kills the container after ten seconds."""
_STOP_AT_ONCE_S = 1.0
_START_POLL_S = 0.05


class Launcher:
    """Runs one service: its phases and its processes."""

    def __init__(self, app: Flask) -> None:
        services = services_of(app)
        self._settings, self._state = services.settings, services.state
        poller = SupervisedProcess("change_poller", self._state, POLLER_ROW, _poll, app)
        # The rows of the workers follow that of the change poller.
        workers = [
            SupervisedProcess(f"worker-{row}", self._state, row, _work, app, row)
            for row in range(POLLER_ROW + 1, POLLER_ROW + 1 + self._settings.worker_count)
        ]
        self._supervisor = Supervisor([poller, *workers, *_metrics_process(app)])
        self._preparing = multiprocessing.Process(target=_prepare, args=(app,), name="prepare")
        self._stop_at_s = math.inf
        self._stop_within_s = _STOP_AT_ONCE_S
        self._exit_code = 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status. Raises: StartError, if the port is in use"""
        for name in ("port", "metrics_port") if self._settings.metrics_port else ("port",):
            _check_port(self._settings, name)
        self._state.phase = Phase.STARTING
        self._supervisor.start()
        self._preparing.start()
        while (remaining_s := self._stop_at_s - time.monotonic()) > 0:
            if self._supervisor.wait(remaining_s):
                self._stop()
            elif self._state.phase == Phase.STARTING and self._preparing.exitcode is not None:
                self._finish_preparing(self._preparing.exitcode)
            self._supervisor.repair()
        self._preparing.kill()
        self._supervisor.stop(self._stop_within_s)
        return self._exit_code

    def _finish_preparing(self, exit_code: int) -> None:
        if exit_code:
            self._exit_code, self._stop_at_s = 1, 0.0
            return
        self._state.phase = Phase.SERVING
        log.info(
            "serving",
            address=self._settings.listen_address,
            port=self._settings.port,
            workers=self._settings.worker_count,
        )

    def _stop(self) -> None:
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
    # Forking saves a second and most of the memory. It is safe: there are no connections and no other threads.
    multiprocessing.set_start_method("fork", force=True)
    try:
        app = create_app()
    except SettingsError as error:
        sys.stderr.write(f"fullstack-app does not start. {error}\n")
        return 2
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


def _check_port(settings: Settings, name: str) -> None:
    """Refuse the port of the setting `name` if it is in use. Granian would share it, and get only some requests.

    Raises: StartError
    """
    family = socket.AF_INET6 if ":" in settings.listen_address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_address, getattr(settings, name)))
        except OSError as error:
            place = f"{settings.listen_address}, port {getattr(settings, name)} (LISTEN_ADDRESS, {name.upper()})"
            raise StartError(f"can't listen on {place}: {error.strerror}") from None


def _work(app: Flask, row: int) -> None:
    """Serve requests until SIGTERM."""
    services = services_of(app)
    services.generations.use_row(row)
    with contextlib.ExitStack() as exits:
        if services.settings.otel_exporter_otlp_endpoint:
            exits.enter_context(importlib.import_module("app.http.tracing").exporting())
        serve(app)


def _poll(app: Flask) -> None:
    """Run the change poller, the index cleaner and the retention."""
    services = services_of(app)
    services.generations.use_row(POLLER_ROW)
    while services.state.phase == Phase.STARTING:
        # The history exists only after the migration.
        time.sleep(_START_POLL_S)
    cleaner = IndexCleaner(services.database.connect)
    cleaner.start()
    services.retention.start()
    ChangePoller(
        services.database.connect,
        services.generations,
        services.known_changes,
        cleaner.request,
    ).run()


def _metrics_process(app: Flask) -> list[SupervisedProcess]:
    """The process that serves metrics, after all parts were connected to them; none without METRICS_PORT."""
    services = services_of(app)
    if not services.settings.metrics_port:
        return []
    row = POLLER_ROW + 1 + services.settings.worker_count
    names = ["change_poller", *(f"worker-{worker}" for worker in range(POLLER_ROW + 1, row)), "metrics"]
    rules = (
        (interface_of(rule), method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods or ()
    )
    stores = (services.redis_answers, services.sessions.store, services.rate_limits)
    breakers = [services.database.breaker.name, *(store.breaker.name for store in stores)]
    with app.app_context():
        metrics = Metrics(rules, names, breakers, db.engine)
    metrics.connect()
    return [SupervisedProcess("metrics", services.state, row, _serve_metrics, app, metrics)]


def _serve_metrics(app: Flask, metrics: Metrics) -> None:
    """Serve metrics until SIGTERM."""
    # Only this process needs prometheus_client and Alembic.
    server, migrate = map(importlib.import_module, ("app.ops.metrics_server", "app.db.migrate"))
    services = services_of(app)
    revisions = services.database.revision, migrate.newest_revision(services.settings)
    backups = functools.partial(read_backup_status, services.settings.backup_status_file)
    reads = server.Reads(services.known_changes.lag_s, services.sessions.store.count, *revisions, backups)
    server.serve(services.settings, metrics, services.health, reads)


def _prepare(app: Flask) -> None:
    """Migrate the database, and create the first administrator of the settings."""
    depend_on_launcher()
    try:
        # Only this process needs Alembic. An import at the top would load it into all processes.
        migrate = importlib.import_module("app.db.migrate")
        with app.app_context():
            services().state.is_role_available = migrate.prepare(services().settings)
            services().bootstrap_admin.create_from_settings()
    except (DomainError, OperatorError) as error:
        log.error("start_refused", cause=str(error))  # noqa: TRY400 - the message is complete
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
