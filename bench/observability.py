"""Measures what metrics and traces cost: CPU time of the worker for a request with them and without.

    python bench/observability.py                      CPU per request and ratios
    python bench/observability.py --before 1a2b3c4     also those of a release without metrics and traces

The services share one PostgreSQL and one Redis. Each has one worker: one service with neither, one with METRICS_PORT,
one with traces as by default (one request in a hundred), and one that traces each request. They take turns, in random
order. Each turn sends requests one after another without waiting for responses (HTTP pipelining), so that the worker is
busy all the time. The goal is a ratio of at most 1.1 for metrics and a read that the response cache answers. The cost
of a scrape is printed as well.
"""

import argparse
import io
import random
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from rig import ROOT
from rig.api import ADMIN, await_ready, create_token, send, sign_in
from rig.report import conditions, table
from rig.starting import ENVIRON

from embedded import stack
from embedded.ports import HOST, free_port
from embedded.service import Service

GOAL = 1.1
_TRACES = ("traces", "ratio", "each traced", "ratio")
_BATCH = 50
_TIMEOUT_S = 30
_SCRAPES = 20
# A request with a condition is not answered by the response cache.
_KINDS = {"cached read": {}, "uncached read": {"If-None-Match": '"none"'}}


class Subject:
    """A running service with one worker, and a connection to it."""

    def __init__(
        self, services: ExitStack, database_url: str, redis_url: str, observed: Mapping[str, str], root: Path = ROOT
    ) -> None:
        self.port, self.metrics_port = free_port(), int(observed.get("METRICS_PORT", 0))
        settings = {
            **ENVIRON,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PORT": str(self.port),
            **observed,
            "LOG_LEVEL": "warning",
            "WORKERS": "1",
            "ADMIN_EMAIL": ADMIN["email"],
            "ADMIN_PASSWORD": ADMIN["password"],
        }
        service = Service([sys.executable, "-m", "app"], self.port, settings, root)
        services.callback(service.stop)
        await_ready(service)
        self._service = service
        self._session = sign_in(self.port)
        self._token = create_token(self.port, self._session, "bench")
        user = {"username": f"user-{self.port}", "email": f"{self.port}@example.com", "name": "Some One"}
        self._path = f"/api/users/{send(self.port, 'POST', '/api/users', user, self._session).json()['id']}"
        self._connection = services.enter_context(socket.create_connection((HOST, self.port), _TIMEOUT_S))
        self._worker = self._pid_at(self.port)

    def cpu_us(self, headers: dict[str, str], count: int) -> float:
        """CPU time of the worker for one of `count` requests."""
        lines = {"Host": f"{HOST}:{self.port}", **self._token, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        batch = f"GET {self._path} HTTP/1.1\r\n{head}\r\n".encode() * _BATCH
        began = _cpu_s(self._worker)
        for _ in range(count // _BATCH):
            self._connection.sendall(batch)
            self._receive()
        return 1e6 * (_cpu_s(self._worker) - began) / (count // _BATCH * _BATCH)

    def scrape_ms(self) -> float:
        """CPU time of one scrape."""
        pid = self._pid_at(self.metrics_port)
        send(self.metrics_port, "GET", "/metrics")
        began = _cpu_s(pid)
        for _ in range(_SCRAPES):
            send(self.metrics_port, "GET", "/metrics")
        return 1e3 * (_cpu_s(pid) - began) / _SCRAPES

    def _receive(self) -> None:
        """The responses to a batch. They have one length."""
        received, left = b"", _BATCH
        while left:
            received += self._connection.recv(1 << 20)
            while b"\r\n\r\n" in received:
                head, _, rest = received.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                if len(rest) < length:
                    break
                if not head.startswith(b"HTTP/1.1 200"):
                    sys.exit(f"Error: the service gave {head[:40]!r}.")
                received, left = rest[length:], left - 1

    def _pid_at(self, port: int) -> int:
        """The process that listens on `port`."""
        for process in psutil.Process(self._service.pid).children(recursive=True):
            if any(one.laddr.port == port and one.status == "LISTEN" for one in process.net_connections("tcp")):
                return process.pid
        sys.exit(f"Error: no process listens on {port}.")


def main() -> None:
    """Parse the command line, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31, help="turns of each service (default: 31)")
    parser.add_argument("--requests", type=int, default=2000, help="requests of each kind in a turn (default: 2000)")
    parser.add_argument("--before", metavar="COMMIT", help="compare also with the release of this commit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, stack(Path(folder), 18) as both, ExitStack() as services:
        urls = both.postgres.url, both.redis.url
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": services.enter_context(_collector())}
        observed = ({}, {"METRICS_PORT": str(free_port())}, traced, {**traced, "OTEL_TRACES_SAMPLER": "always_on"})
        subjects = [Subject(services, *urls, settings) for settings in observed]
        if options.before:
            subjects.append(_release(options.before, Path(folder), services, *urls))
        print(conditions(f"{options.rounds} rounds of {options.requests} requests"), flush=True)
        rows = [_row(kind, headers, subjects, options) for kind, headers in _KINDS.items()]
        before = (options.before, "off to it") if options.before else ()
        titles = ("CPU µs of the worker", "off", "metrics", "ratio", "goal", "", *_TRACES, *before)
        print(f"\n{table(titles, rows)}\n\nOne scrape: {subjects[1].scrape_ms():.1f} ms of CPU time")
    print(f"\n{conditions('at the end')}")


def _row(kind: str, headers: dict[str, str], subjects: Sequence[Subject], options: argparse.Namespace) -> list[object]:
    """The least of all rounds: what else runs on the machine only adds to it."""
    chance, found = random.Random(1), {subject: [] for subject in subjects}
    for subject in subjects:
        subject.cpu_us(headers, options.requests)
    for _ in range(options.rounds):
        for subject in chance.sample(subjects, len(subjects)):
            found[subject].append(subject.cpu_us(headers, options.requests))
    off, metrics, some, each, *before = (min(found[subject]) for subject in subjects)
    ratio = metrics / off
    goal = GOAL if kind == "cached read" else None
    verdict = "" if goal is None else "PASS" if ratio <= goal else "FAIL"
    compared = [value for one in before for value in (one, off / one)]
    return [kind, off, metrics, ratio, goal, verdict, some, some / off, each, each / off, *compared]


def _release(commit: str, folder: Path, services: ExitStack, database_url: str, redis_url: str) -> Subject:
    """The service of another commit, on a database of its own, since the schemas differ."""
    archive = subprocess.run(["git", "archive", commit, "app"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder / "release", filter="data")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE before")
    url = urlsplit(database_url)._replace(path="/before").geturl()
    return Subject(services, url, redis_url, {}, folder / "release")


@contextmanager
def _collector() -> Iterator[str]:
    """A collector of traces that keeps nothing. Yields its URL."""
    server = ThreadingHTTPServer((HOST, 0), _Discard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{HOST}:{server.server_address[1]}"
    server.shutdown()


class _Discard(BaseHTTPRequestHandler):
    """Accepts all spans."""

    def do_POST(self) -> None:
        """The method that http.server calls."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """No lines."""


def _cpu_s(pid: int) -> float:
    """CPU time of one process: its clock, see clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


if __name__ == "__main__":
    main()
