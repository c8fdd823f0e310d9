"""An HTTP client that records each request as an operation."""

import http.client
import json
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.journal.cluster import Cluster
from tests.journal.operations import Journal, Operation

TIMEOUT_S = 5.0
CONNECTIONS = 2
HANG_UP_S = 0.03
NAMING = ("create", "update")
"""The kinds of operations that give a name to their target."""


@dataclass(frozen=True)
class Answer:
    """An answer; status None: there was none because of `error`, and the request may have been processed."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    error: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def outcome(self) -> Any:
        if self.status is None or self.status == 503:
            return "unknown"
        return "ok" if self.status < 400 else "refused"


class HttpClient:
    """A client of both hosts, with several connections to each. `headers` are sent with every request."""

    interface = "token"
    hang_up_share = 0.0
    """The share of requests whose connection is closed before their answer."""

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str) -> None:
        self.name, self.cluster, self.journal = name, cluster, journal
        self.random = random.Random(f"{seed}/{name}")  # noqa: S311 - nothing here is secret
        self.stop = threading.Event()
        self.headers: dict[str, str] = {"Authorization": f"Bearer {cluster.token}"}
        self._open = [
            [
                http.client.HTTPConnection(host.service.address, host.service.port, timeout=TIMEOUT_S)
                for _ in range(CONNECTIONS)
            ]
            for host in cluster.hosts
        ]

    def any_host(self) -> int:
        return self.random.randrange(2)

    def operation(self, kind: str, target: str = "", host: int | None = None) -> Operation:
        """A new operation that begins now, on a random host if none is given."""
        chosen, number = self.any_host() if host is None else host, self.journal.next_number()
        marker = f"n{number}" if kind in NAMING else None
        return Operation(number, self.name, self.interface, chosen, kind, target, time.monotonic(), marker=marker)

    def send(
        self, operation: Operation, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> Answer:
        """Send the request of an operation, without recording it."""
        assert operation.host is not None
        connection = self.random.choice(self._open[operation.host])
        sent = {**self.headers, "X-Request-ID": operation.request_id, **headers}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, data, sent)
            if self.random.random() < self.hang_up_share:
                # Mostly while the request is being processed. Without this time it would often not be read at all.
                self.stop.wait(self.random.uniform(0, HANG_UP_S))
                connection.close()
                return Answer(None, {}, b"", "closed by the client")
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer(None, {}, b"", type(error).__name__)

    def record(self, operation: Operation, answer: Answer, **changed: Any) -> Operation:
        """Add the operation to the journal, as ended now with this answer."""
        ends = {"ended": time.monotonic(), "outcome": answer.outcome, "status": answer.status, "error": answer.error}
        return self.journal.add(operation, **{**ends, **changed})

    def write(self, operation: Operation, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a write, and record it with what the answer shows of users."""
        answer = self.send(operation, method, path, body, headers)
        self.record(operation, answer, shown=shown_users(answer))
        return answer

    def settle(
        self, kind: str, target: str, method: str, path: str, body: Any = None, host: int | None = None
    ) -> Answer:
        """Repeat a write, each time as a new operation, until it is acknowledged or refused."""
        answer = self.write(self.operation(kind, target, host), method, path, body)
        while answer.outcome == "unknown" and not self.stop.wait(0.2):
            answer = self.write(self.operation(kind, target, host), method, path, body)
        return answer

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._open[0], *self._open[1]):
            connection.close()


class RepeatingClient(HttpClient, ABC):
    """A client that repeats its step in a thread."""

    rate = 20.0
    """Steps per second, without the time that they take."""

    def run(self) -> None:
        """Work until `stop` is set."""
        try:
            while not self.stop.is_set():
                self.step()
                self.stop.wait(self.random.expovariate(self.rate))
        # The edge of a thread: whatever it was fails the run.
        except Exception as error:  # noqa: BLE001
            self.journal.problems.append(f"{self.name}: {error!r}")
        finally:
            self.close()

    @abstractmethod
    def step(self) -> None:
        """Do one piece of work; `run` repeats it."""


def shown_users(answer: Answer) -> dict[str, Any]:
    """Version and name of the users in a JSON answer, by id."""
    if answer.status not in (200, 201) or not answer.body:
        return {}
    found = answer.json
    users = [user for user in (found if isinstance(found, list) else [found]) if "version" in user]
    return {user["id"]: [user["version"], user["name"]] for user in users}
