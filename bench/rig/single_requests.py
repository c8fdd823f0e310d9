"""CPU time of single requests in a process without a server, for bench/ablation.py.

    cd bench; python -m rig.single_requests VARIANT QUESTIONS        prints the results as JSON

QUESTIONS is a file of rig.alone. The application is called as WSGI, with the real PostgreSQL and Redis, and with the
change poller in a process of its own. Of the service, the batch that took the least counts, because other work of the
machine only adds. Of PostgreSQL, the mean counts.
"""

import io
import json
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from app import factory
from app.cache.change_poller import ChangePoller
from app.cache.generations import POLLER_ROW
from app.http.services import services_of
from rig import variants
from rig.usage import cpu_s

BATCH, LARGE_BATCH = 5, 160
_THREADS = 16
_LEASE_WAIT_S = 10.0

Environ = dict[str, Any]


def main() -> None:
    """Measure each kind of request."""
    variants.install(sys.argv[1])
    questions = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    app = factory.create_app()
    own, database = {}, {}
    with _change_poller(services_of(app)):
        for measure, kinds in ((_one_thread, questions["alone"]), (_many_threads, questions["at once"])):
            for kind, requests in kinds.items():
                environs = [_environ(questions["token"], *request) for request in requests]
                before = cpu_s([questions["postgres"]])
                own[kind] = min(measure(app, environs))
                database[kind] = 1e6 * (cpu_s([questions["postgres"]]) - before) / len(environs)
        environs = [_environ(questions["token"], *request) for request in questions["without redis"]]
        hanging = _ms_while_hanging(questions["redis"], app, environs)
    print(json.dumps({"own": own, "database": database, "hanging_ms": hanging}))


@contextmanager
def _change_poller(services: factory.Services) -> Iterator[None]:
    """Poll for changes inside of the block, so that the caches may be used."""
    poller = ChangePoller(
        services.database.connect,
        services.generations,
        services.known_changes,
        on_change=lambda: None,
    )

    def run() -> None:
        services.generations.use_row(POLLER_ROW)
        poller.run()

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + _LEASE_WAIT_S
        while not services.generations.has_lease():
            if time.monotonic() > deadline:
                sys.exit("Error: the change poller does not answer.")
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.join()


def _environ(token: str, method: str, path: str, body: str, host: str = "localhost") -> Environ:
    place, _, query = path.partition("?")
    environ: Environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": place,
        "QUERY_STRING": query,
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": host,
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    setup_testing_defaults(environ)
    return environ


def _one_thread(app: Any, environs: list[Environ]) -> Iterator[float]:
    """CPU µs of a request, batch by batch; the first batch is a warm-up."""
    for number, batch in enumerate(_batches(environs, BATCH)):
        took = _timed(time.thread_time, lambda requests=batch: [_call(app, request) for request in requests])
        if number:
            yield 1e6 * took / len(batch)


def _many_threads(app: Any, environs: list[Environ]) -> Iterator[float]:
    """The same of all threads of the process, of which sixteen send requests."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for number, batch in enumerate(_batches(environs, LARGE_BATCH)):
            took = _timed(time.process_time, lambda requests=batch: list(threads.map(partial(_call, app), requests)))
            if number:
                yield 1e6 * took / len(batch)


def _batches(environs: list[Environ], size: int) -> Iterator[list[Environ]]:
    for first in range(0, len(environs), size):
        yield environs[first : first + size]


def _timed(clock: Callable[[], float], work: Callable[[], object]) -> float:
    began = clock()
    work()
    return clock() - began


def _ms_while_hanging(redis: int, app: Any, environs: list[Environ]) -> float:
    """The median time of a request while Redis does not respond."""
    os.kill(redis, signal.SIGSTOP)
    try:
        return statistics.median(
            1000 * _timed(time.monotonic, lambda request=environ: _call(app, request)) for environ in environs
        )
    finally:
        os.kill(redis, signal.SIGCONT)


def _call(app: Any, environ: Environ) -> None:
    """Ask the response cache, as the server does, or else send one request. Raises: SystemExit, when it fails"""
    if services_of(app).response_cache.get(environ) is not None:
        return
    started: list[str] = []
    body = app.wsgi_app(environ, lambda status, *_: started.append(status))
    content = b"".join(body)
    getattr(body, "close", lambda: None)()
    if started[0][:3] not in {"200", "201"}:
        sys.exit(f"Error: {environ['REQUEST_METHOD']} {environ['PATH_INFO']} gave {started[0]}: {content[:300]!r}")


if __name__ == "__main__":
    main()
