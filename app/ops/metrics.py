"""Receives the signals of all processes and counts them. The process `metrics` serves the numbers (ops.metrics_server).

Each series has its column before the processes are forked, so labels have no other values than those that the service
knows, and no process waits for another one.
"""

import functools
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from itertools import product
from typing import Any, NamedTuple, cast

from sqlalchemy import Engine, QueuePool, event

from app import signals
from app.ops.shared_numbers import SharedNumbers

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of durations. The last bucket has no bound."""
STATUSES = tuple(map(int, HTTPStatus))
DURATIONS = len(STATUSES)
"""Where the buckets of a RequestSeries begin. The sum of its durations follows them."""
_SUM = DURATIONS + len(BUCKETS_S) + 1
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_OTHER = "other"
"""Any other method."""
_PID = 0


class Family(NamedTuple):
    """A metric with one number for each of `values`, the values of its labels."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    values: Sequence[tuple[str, ...]] = ((),)


class RequestSeries(NamedTuple):
    """The requests with these labels. Its columns: a number for each status, then the durations."""

    interface: str
    method: str
    route: str
    cached: str


class Metrics:
    """The numbers of one service.

    rules: interface, method and route of each URL rule. processes, breakers: the names of all of them.
    """

    def __init__(
        self, rules: Iterable[tuple[str, str, str]], processes: Sequence[str], breakers: Sequence[str], engine: Engine
    ) -> None:
        self._engine = engine
        self.gauges = _gauges(breakers)
        self.counters = _counters(processes)
        names = [(family.name, *values) for family in (*self.gauges, *self.counters) for values in family.values]
        self.columns = {name: column for column, name in enumerate(names, _PID + 1)}
        self._first_counter = self.columns[self.counters[0].name, *self.counters[0].values[0]]
        self.requests: dict[RequestSeries, int] = {}
        self._columns_of_requests: dict[tuple[str, str, bool], int] = {}
        without_route = product(("api", "console"), (*_METHODS, _OTHER), ("",))
        # Several rules may have one method and route.
        for interface, method, route in dict.fromkeys((*rules, *without_route)):
            for cached in (False, True) if route and method == "GET" else (False,):
                column = 1 + len(names) + len(self.requests) * (_SUM + 1)
                self.requests[RequestSeries(interface, method, route, str(cached).lower())] = column
                self._columns_of_requests[route or interface, method, cached] = column
        # A row for each process, and one for the launcher with the process that prepares the database.
        self.numbers = SharedNumbers(len(processes) + 1, 1 + len(names) + len(self.requests) * (_SUM + 1))

    def connect(self) -> None:
        """Receive all signals, also in processes that are forked later."""
        signals.request_finished.append(self._finish_request)
        signals.request_overloaded.append(self._counter("http_requests_overloaded"))
        signals.in_flight_changed.append(functools.partial(self._put, ("http_requests_in_flight",)))
        signals.cache_read.append(self._counter("cache_reads"))
        signals.breaker_changed.append(lambda name, is_open: self._put(("circuit_breaker_open", name), is_open))
        signals.transaction_ended.append(self._counter("database_transactions"))
        signals.transaction_ended.append(self._put_connections)
        event.listen(self._engine, "checkout", self._put_connections)
        signals.database_failed.append(self._counter("database_errors"))
        signals.sign_in_ended.append(self._counter("sign_ins"))
        signals.rate_limited.append(self._counter("rate_limited"))
        signals.process_started.append(self._start_process)
        signals.process_restarted.append(self._counter("process_restarts"))

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that have started, without the launcher. They may have ended."""
        return [int(pid) for pid in self.numbers.column(_PID) if pid]

    def _start_process(self, row: int) -> None:
        self.numbers.use_row(row)
        # The row may have the numbers of an ended process: its counters continue, and its gauges begin at 0.
        self.numbers.own[_PID] = os.getpid()
        for column in range(_PID + 1, self._first_counter):
            self.numbers.own[column] = 0.0

    def _counter(self, name: str) -> Callable[..., None]:
        """A receiver that counts in the column of its arguments, the values of the labels."""
        numbers, lock = self.numbers, self.numbers.lock
        columns = {key[1:]: column for key, column in self.columns.items() if key[0] == name}

        def count(*values: str) -> None:
            with lock:
                numbers.own[columns[values]] += 1.0

        return count

    def _put(self, name: tuple[str, ...], value: float) -> None:
        self.numbers.own[self.columns[name]] = value

    def _put_connections(self, *_: Any) -> None:
        # Inside the lock, so that no earlier number replaces a later one.
        with self.numbers.lock:
            in_use = cast("QueuePool", self._engine.pool).checkedout()
            self.numbers.own[self.columns["database_connections_in_use",]] = in_use

    def _finish_request(
        self, method: str, path: str, route: str | None, status: int, duration_ns: int, cached: bool
    ) -> None:
        first = self._columns_of_requests.get((route or "", method, cached))
        if first is None:
            interface = "api" if path.startswith("/api/") else "console"
            first = self._columns_of_requests[interface, method if method in _METHODS else _OTHER, False]
        seconds = duration_ns / 1e9
        with self.numbers.lock:
            own = self.numbers.own
            own[first + _STATUS_COLUMNS.get(status, 0)] += 1.0
            own[first + DURATIONS + bisect_left(BUCKETS_S, seconds)] += 1.0
            own[first + _SUM] += seconds


_STATUS_COLUMNS = {status: column for column, status in enumerate(STATUSES)}


def _gauges(breakers: Iterable[str]) -> list[Family]:
    return [
        Family("http_requests_in_flight", "Admitted requests that are not answered yet."),
        Family("database_connections_in_use", "Connections of the pools that are in use."),
        Family("circuit_breaker_open", "1: open in some process.", ("name",), [(name,) for name in breakers]),
    ]


def _counters(processes: Iterable[str]) -> list[Family]:
    caches = list(product(("response", "local", "redis"), ("hit", "miss", "bypass")))
    kinds = [("unavailable",), ("busy",), ("constraint",)]
    sign_ins = [("succeeded",), ("refused",), ("limited",)]
    transactions = [("committed",), ("rolled_back",)]
    restarted = "Processes that ended and were started again."
    return [
        Family("http_requests_overloaded", "Requests that an overloaded worker refused with 503."),
        Family("cache_reads", "Reads of caches. bypass: not cacheable, or no lease.", ("cache", "result"), caches),
        Family("database_transactions", "Transactions. A read is one as well.", ("result",), transactions),
        Family("database_errors", "Errors of requests that PostgreSQL caused.", ("kind",), kinds),
        Family("sign_ins", "Attempts to sign in.", ("result",), sign_ins),
        Family("rate_limited", "Requests above a rate limit.", ("limit",), [("sign-in",), ("writes",)]),
        Family("process_restarts", restarted, ("process",), [(name,) for name in processes]),
    ]
