"""A client that repeats its step at a steady rate, and notes each response that it does not expect."""

import contextlib
import http.client
import json
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import Any
from urllib.parse import urlencode

from tests.soak.site import Site

TIMEOUT_S = 30.0
REQUESTS_OF_A_CONNECTION = 200
"""After that a client opens a new connection, which may lead to the other worker."""
IDLE_S = 5.0
MAX_PROBLEMS = 50
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class StepFailed(Exception):
    """A response that was not expected, or 503: the rest of the step makes no sense."""


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Load:
    """What all clients share: the users that they work on, the numbers of requests, and what went wrong."""

    def __init__(self, site: Site, seed: str) -> None:
        self.site, self.seed = site, seed
        self.stop = threading.Event()
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.base: list[str] = []
        self.editors: list[str] = []
        self.admins: list[str] = []
        self._lock = threading.Lock()
        self._number = 0

    def count(self, *names: str) -> None:
        with self._lock:
            self.counts.update(names)

    def next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def note(self, problem: str) -> None:
        """Keep a problem, which fails the run."""
        self.count("problems")
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {problem}")


class Client(ABC):
    """A client with one connection. `headers` are sent with every request."""

    rate = 1.0
    """Steps per second. A client that is late does not catch up by more than one step."""

    def __init__(self, name: str, load: Load) -> None:
        self.name, self.load, self.site = name, load, load.site
        self.random = random.Random(f"{load.seed}/{name}")  # noqa: S311 - nothing here is secret
        self.headers: dict[str, str] = {"Authorization": f"Bearer {load.site.token}"}
        address, port = load.site.service.address, load.site.service.port
        self._connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
        self._requests, self._used_at = 0, 0.0

    @abstractmethod
    def step(self) -> None:
        """Do one piece of work; `run` repeats it."""

    def run(self) -> None:
        """Work until the load is stopped."""
        due = time.monotonic() + self.random.random() / self.rate
        while not self.load.stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / self.rate, time.monotonic() - 1 / self.rate)
            try:
                with contextlib.suppress(StepFailed):
                    self.step()
            # The edge of a thread: whatever it was fails the run.
            except Exception as error:  # noqa: BLE001
                self.load.note(f"{self.name}: {error!r}")
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        expect: tuple[int, ...] = (200,),
        headers: Mapping[str, str] = {},
    ) -> Answer:
        """Send a request. A body that is not bytes is sent as JSON.

        Raises: StepFailed (another status than expected; noted as a problem unless it is 503 with Retry-After)
        """
        sent = {**self.headers, **headers}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        answer = self._exchange(method, path, body, sent)
        self.load.count("requests", *(["writes"] if method != "GET" else []))
        if answer.status in expect:
            return answer
        if answer.status == 503 and answer.headers.get("Retry-After"):
            self.load.count("unavailable")
        else:
            self.load.note(f"{self.name}: {method} {path}: {answer.status} instead of {expect}: {answer.body[:300]!r}")
        raise StepFailed

    def form(self, path: str, fields: Mapping[str, Any] = {}, expect: tuple[int, ...] = (303,)) -> Answer:
        """Send a form of the console. A field may have a list of values."""
        data = urlencode(fields, doseq=True).encode()
        return self.send("POST", path, data, expect=expect, headers={**FORM, "Origin": self.site.origin})

    def name_of_new(self) -> str:
        """A username that no other user of the run has."""
        return f"passing{self.load.next_number()}"

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        self._requests += 1
        # The service closes connections that are not used for a while.
        if self._requests % REQUESTS_OF_A_CONNECTION == 0 or time.monotonic() - self._used_at > IDLE_S:
            self._connection.close()
        self._used_at = time.monotonic()
        try:
            self._connection.request(method, path, body, dict(headers))
            with contextlib.closing(self._connection.getresponse()) as response:
                return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self.load.note(f"{self.name}: {method} {path}: {error!r}")
            raise StepFailed from error
