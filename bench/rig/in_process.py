"""CPU time of one request in a process without a server: python bench/rig/in_process.py PART+PART QUESTIONS

QUESTIONS is a file of JSON: the token, and for each kind of request its requests as [method, path, body]; those below
`alone` are sent by one thread, those below `together` by sixteen at once. The application is called as WSGI, with
PostgreSQL and Redis. Prints JSON: µs for each kind, of the batch that took the least, since the other work of a machine
only adds. What PostgreSQL, Redis and a server do is not in it.
"""

import io
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import replaced

from app import factory

_BATCH, _LARGE_BATCH, _THREADS = 5, 160, 16
_LEASE_NS = 10**12


def main() -> None:
    """Measure each kind of request."""
    replaced.replace(sys.argv[1])
    questions = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    app = factory.create_app()
    _lend(app)
    least = {}
    for batches, kinds in ((_alone, questions["alone"]), (_together, questions["together"])):
        for kind, requests in kinds.items():
            least[kind] = min(batches(app, [_environ(questions["token"], *one) for one in requests]))
    print(json.dumps(least))


def _lend(app: Any) -> None:
    """Let the process use its caches, as `python -m app` does that hears of changes."""
    state = app.extensions["fullstack"].state
    state.closed = True
    state.lease[0] = state.watched[0] = time.monotonic_ns() + _LEASE_NS


def _environ(token: str, method: str, path: str, body: str) -> dict[str, Any]:
    place, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": place,
        "QUERY_STRING": query,
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    setup_testing_defaults(environ)
    return environ


def _alone(app: Any, environs: list[dict[str, Any]]) -> Iterator[float]:
    """CPU µs a request of one thread, batch by batch; the first batch warms up."""
    for first in range(0, len(environs), _BATCH):
        batch = environs[first : first + _BATCH]
        began = time.thread_time()
        statuses = [_status(app, environ) for environ in batch]
        took = time.thread_time() - began
        _require_success(batch, statuses)
        if first:
            yield 1e6 * took / len(batch)


def _together(app: Any, environs: list[dict[str, Any]]) -> Iterator[float]:
    """The same of all threads of the process."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for first in range(0, len(environs), _LARGE_BATCH):
            batch = environs[first : first + _LARGE_BATCH]
            began = time.process_time()
            statuses = list(threads.map(partial(_status, app), batch))
            took = time.process_time() - began
            _require_success(batch, statuses)
            if first:
                yield 1e6 * took / len(batch)


def _require_success(batch: list[dict[str, Any]], statuses: list[str]) -> None:
    if any(status not in {"200", "201"} for status in statuses):
        sys.exit(f"Error: {batch[0]['REQUEST_METHOD']} {batch[0]['PATH_INFO']} gave {statuses}")


def _status(app: Any, environ: dict[str, Any]) -> str:
    started: list[str] = []
    body = app.wsgi_app(environ, lambda status, *_: started.append(status))
    b"".join(body)
    getattr(body, "close", lambda: None)()
    return started[0][:3]


if __name__ == "__main__":
    main()
