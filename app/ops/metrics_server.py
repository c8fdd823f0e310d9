"""Serves the metrics of a service to Prometheus: GET /metrics, in a process of its own.

Only this module uses prometheus_client, and only that process imports it.
"""

import os
import platform
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import accumulate
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.config import Settings
from app.errors import DomainError
from app.ops.backup_status import BackupStatus
from app.ops.health import Health
from app.ops.metrics import BUCKETS_S, DURATIONS, STATUSES, Metrics, RequestSeries
from app.version import VERSION

log = structlog.get_logger(__name__)

_PREFIX = "fullstack_app_"
_SCRAPE_S = 1.5
"""How long a scrape waits for PostgreSQL and Redis. A metric that is not known by then is left out."""
_CLIENT_TIMEOUT_S = 5
_BOUNDS = [*map(str, BUCKETS_S), "+Inf"]
_STATUS_LABELS = ("interface", "method", "route", "status", "cached")
_ERRORS = (500, 503)
"""Statuses that each route has from the start, with 0: rate() does not see the first value of a new series."""
_CPU, _MEMORY, _FILES = "process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"
_START = "process_start_time_seconds"


class Reads(NamedTuple):
    """Functions that a scrape calls. They may wait or fail.

    lag_s: of the change poller. sessions: how many have not expired. revision: of the database. newest: of this
    release. backups: their state, if it is known.
    """

    lag_s: Callable[[], float]
    sessions: Callable[[], int]
    revision: Callable[[], str]
    newest: str
    backups: Callable[[], BackupStatus | None]

    def parts(self) -> dict[str, Callable[[], list[Metric]]]:
        """The metrics of each read."""
        revisions = "The revision of the database, and the newest one of this release."
        return {
            "lag": lambda: [_gauge("change_poller_lag_seconds", "Since the last poll; 0: it sleeps.", self.lag_s())],
            "sessions": lambda: [_gauge("sessions", "Sessions that have not expired.", self.sessions())],
            "revision": lambda: [_gauge("migration_info", revisions, revision=self.revision(), newest=self.newest)],
            "backups": self._of_backups,
        }

    def _of_backups(self) -> list[Metric]:
        if (status := self.backups()) is None:
            return []
        times = (
            ("last_success", "The newest full backup.", status.full_at),
            ("last_proof", "The newest proof that a backup can be restored.", status.proven_at),
            ("archived_until", "All changes up to this time can be restored.", status.archived_at),
        )
        return [
            _gauge("backup_failed", "1: the backups need to be repaired.", float(bool(status.failures))),
            *(_gauge(f"backup_{name}_timestamp_seconds", what, at.timestamp()) for name, what, at in times if at),
        ]


def serve(settings: Settings, metrics: Metrics, health: Health, reads: Reads) -> None:
    """Serve all metrics in this process until SIGTERM."""
    registry = CollectorRegistry()
    registry.register(_ServiceCollector(settings, metrics, health, reads))
    answer = make_wsgi_app(registry)

    def only_metrics(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("GET", "/metrics"):
            return answer(environ, start_response)  # type: ignore[no-any-return]
        start_response("404 Not Found", [])
        return [b"Only GET /metrics is served here.\n"]

    _Server.address_family = socket.AF_INET6 if ":" in settings.listen_address else socket.AF_INET
    with _Server((settings.listen_address, settings.metrics_port), _Handler) as server:
        server.set_app(only_metrics)
        server.serve_forever()


class _ServiceCollector(Collector):
    def __init__(self, settings: Settings, metrics: Metrics, health: Health, reads: Reads) -> None:
        self._metrics, self._cpu_s = metrics, 0.0
        self._connections = settings.worker_count * settings.database_pool_size
        self._checks = {"database": health.database.check, "cache": health.cache.check}
        self._parts = reads.parts()
        self._pool = ThreadPoolExecutor(len(self._checks) + len(self._parts), thread_name_prefix="scrape")
        self._futures: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield _gauge("build_info", "The release.", version=VERSION, python=platform.python_version())
        yield _gauge("database_connections_limit", "The size of the pools of all workers.", self._connections)
        sums = self._metrics.numbers.sums()
        yield from self._counted(sums)
        yield from self._requests(sums)
        yield from self._scraped()
        yield from self._processes()

    def _counted(self, sums: Sequence[float]) -> Iterator[Metric]:
        metrics = self._metrics
        for kind, families in ((CounterMetricFamily, metrics.counters), (GaugeMetricFamily, metrics.gauges)):
            for family in families:
                metric = kind(_PREFIX + family.name, family.documentation, labels=family.labels)
                for values in family.values:
                    total = sums[metrics.columns[family.name, *values]]
                    metric.add_metric(values, min(total, 1.0) if family.name == "circuit_breaker_open" else total)
                yield metric

    def _requests(self, sums: Sequence[float]) -> Iterator[Metric]:
        requests = CounterMetricFamily(f"{_PREFIX}http_requests", "All responses.", labels=_STATUS_LABELS)
        documentation = "From the complete head of a request to its response."
        name = f"{_PREFIX}http_request_duration_seconds"
        durations = HistogramMetricFamily(name, documentation, labels=RequestSeries._fields)
        for series, first in self._metrics.requests.items():
            for status, count in zip(STATUSES, sums[first : first + DURATIONS], strict=True):
                if count or (status in _ERRORS and series.cached == "false"):
                    requests.add_metric((*series[:3], str(status), series.cached), count)
            end = first + DURATIONS + len(_BOUNDS)
            counts = list(accumulate(sums[first + DURATIONS : end]))
            if counts[-1]:
                durations.add_metric(series, list(zip(_BOUNDS, counts, strict=True)), sums[end])
        yield requests
        yield durations

    def _scraped(self) -> Iterator[Metric]:
        """The metrics that PostgreSQL and Redis give, and the other reads. A server that is late counts as down."""
        with self._lock:
            for name, read in (*self._checks.items(), *self._parts.items()):
                # A read of an earlier scrape that still waits is not started again.
                if name not in self._futures or self._futures[name].done():
                    self._futures[name] = self._pool.submit(read)
            futures = dict(self._futures)
        done = wait(futures.values(), _SCRAPE_S).done
        up = GaugeMetricFamily(f"{_PREFIX}dependency_up", "1: it answers.", labels=("service",))
        for name in self._checks:
            up.add_metric((name,), float(futures[name] in done and futures[name].result().status == "ok"))
        yield up
        for name in self._parts:
            error = futures[name].exception() if futures[name] in done else TimeoutError()
            if error is None:
                yield from futures[name].result()
            elif not isinstance(error, (DomainError, TimeoutError)):
                log.error("metric_left_out", metric=name, exc_info=error)

    def _processes(self) -> Iterator[Metric]:
        """Sums over the launcher and its processes, as /proc has them. On other systems than Linux there are none."""
        launcher = os.getppid()
        # Ended processes first: one that ends meanwhile is missing, and not counted twice.
        cpu_s = _ended_cpu_s(launcher)
        found = [_of_process(pid) for pid in (launcher, *self._metrics.pids)]
        if not found[0]:
            return
        self._cpu_s = max(self._cpu_s, cpu_s + sum(values.get(_CPU, 0.0) for values in found))
        yield CounterMetricFamily(_CPU, "CPU time of the launcher and its processes, also of ended ones.", self._cpu_s)
        for name in (_MEMORY, _FILES):
            total = sum(one.get(name, 0.0) for one in found)
            yield GaugeMetricFamily(name, "Of the launcher and its processes.", total)
        yield GaugeMetricFamily(_START, "Start of the launcher, in seconds since 1970.", found[0][_START])


def _gauge(name: str, documentation: str, value: float = 1.0, **labels: str) -> Metric:
    """A gauge with one number."""
    family = GaugeMetricFamily(_PREFIX + name, documentation, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def _of_process(pid: int) -> dict[str, float]:
    return {one.name: one.samples[0].value for one in ProcessCollector(pid=lambda: pid, registry=None).collect()}


def _ended_cpu_s(launcher: int) -> float:
    """The CPU time of the ended processes of the launcher."""
    stat = Path(f"/proc/{launcher}/stat")
    fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split() if stat.exists() else []
    return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
