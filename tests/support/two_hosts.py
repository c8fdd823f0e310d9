"""A service on two hosts, and clients that read and write at random and record the results."""

import contextlib
import http.client
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.cache.change_poller import LEASE_S
from tests.support.records import Read, Record, Write
from tests.support.service_process import Service

USERS = 10
READERS = 4
PASSWORD = "correct horse battery"
CHANCE = random.Random()  # noqa: S311 - nothing here is secret
LONGEST_S = 5.0
"""The longest accepted response time, also during Redis outages. It is generous, for a busy machine."""


@dataclass
class TwoHosts:
    """A service on two hosts, with the token of an administrator, users, and a token of each user."""

    services: list[Service]
    admin_token: str = ""
    user_ids: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def set_up(self) -> None:
        """Create the users and tokens in setup mode, then end setup mode by giving the administrator a password."""
        first = self.services[0]
        root = first.post("/api/users", {"username": "root", "role": "admin"}).json
        self.admin_token = self._token(root["id"], "admin")
        for number in range(USERS):
            self.user_ids.append(first.post("/api/users", {"username": f"person{number}", "name": "Person"}).json["id"])
            self.tokens.append(self._token(self.user_ids[-1], "member"))
        assert first("PATCH", f"/api/users/{root['id']}", {"password": PASSWORD}).status == 200
        for service in self.services:
            service.wait_for(lambda service=service: service.get("/api/users").status == 401)

    def _token(self, user_id: str, role: str) -> str:
        body = {"name": "test", "user_id": user_id, "role": role}
        return self.services[0].post("/api/tokens", body).json["token"]


class Client:
    """A client with several connections to each host, to reach all workers."""

    def __init__(self, hosts: TwoHosts, record: Record) -> None:
        self._hosts, self._record = hosts, record
        self._open = [
            [http.client.HTTPConnection("127.0.0.1", service.port, timeout=15) for _ in range(3)]
            for service in hosts.services
        ]

    def ask(self, host: int, method: str, path: str, token: str, body: Any = None) -> tuple[int, bytes, float, float]:
        """Send a request. Returns status, body, and the times of request and response."""
        connection = CHANCE.choice(self._open[host])
        headers = {"Authorization": f"Bearer {token}"}
        data = None if body is None else orjson.dumps(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        sent = time.monotonic()
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        answer = response.read()
        answered = time.monotonic()
        if answered - sent > LONGEST_S:
            self._record.faults.append(f"{method} {path} took {answered - sent:.1f} s")
        return response.status, answer, sent, answered

    def read(self, host: int, path: str, token: str) -> tuple[int, Any, float, float]:
        status, answer, began, ended = self.ask(host, "GET", path, token)
        return status, orjson.loads(answer), began, ended

    def write(self, host: int, method: str, path: str, body: Any = None) -> tuple[Any, float, float]:
        """Write as the administrator. A failure is recorded as a fault."""
        status, answer, sent, answered = self.ask(host, method, path, self._hosts.admin_token, body)
        if status >= 300:
            self._record.faults.append(f"{method} {path} was answered with {status}: {answer.decode()}")
        return orjson.loads(answer) if answer else None, sent, answered

    def close(self) -> None:
        for one in itertools.chain(*self._open):
            one.close()


def run(hosts: TwoHosts, seconds: float, meanwhile: Callable[[float], None] = time.sleep) -> Record:
    """Read and write at random for `seconds`."""
    record, stop = Record(), threading.Event()
    works = [_change, _change, _end_tokens, _lower, *[_read] * READERS]

    def work(do: Callable[[TwoHosts, Client, Record, threading.Event], None]) -> None:
        with contextlib.closing(Client(hosts, record)) as client:
            try:
                do(hosts, client, record, stop)
            # The edge of a thread: whatever it was fails the test.
            except Exception as error:  # noqa: BLE001
                record.faults.append(f"{do.__name__}: {error!r}")

    threads = [threading.Thread(target=work, args=(do,)) for do in works]
    for thread in threads:
        thread.start()
    meanwhile(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return record


def _change(hosts: TwoHosts, client: Client, record: Record, stop: threading.Event) -> None:
    """Update random users."""
    for number in itertools.count():
        host, user_id = _host(), CHANCE.choice(hosts.user_ids)
        # Some by one statement, some under a lock.
        body = {"attributes": {"n": number}} if CHANCE.random() < 0.7 else {"active": True, "name": f"Person {number}"}
        made, sent, answered = client.write(host, "PATCH", f"/api/users/{user_id}", body)
        record.writes.append(Write(sent, answered, host, user_id, made["version"]))
        if stop.wait(CHANCE.expovariate(30)):
            return


def _read(hosts: TwoHosts, client: Client, record: Record, stop: threading.Event) -> None:
    """Read one user, the own user, or a page."""
    while not stop.is_set():
        host, chance, number = _host(), CHANCE.random(), CHANCE.randrange(USERS)
        if chance < 0.5:
            status, found, began, ended = client.read(host, f"/api/users/{hosts.user_ids[number]}", hosts.admin_token)
        elif chance < 0.8:
            status, found, began, ended = client.read(host, "/api/me", hosts.tokens[number])
        else:
            query = "sort=username" if chance < 0.9 else "q=person&limit=30"
            status, found, began, ended = client.read(host, f"/api/users?{query}", hosts.admin_token)
        if status != 200:
            record.faults.append(f"a read was answered with {status}: {found}")
            continue
        for user in found if isinstance(found, list) else [found]:
            if user["id"] in hosts.user_ids:
                record.reads.append(Read(began, ended, host, user["id"], user["version"]))


def _end_tokens(_: TwoHosts, client: Client, record: Record, stop: threading.Event) -> None:
    """Create and use a token, end it in one of three ways, and record how long it remains valid."""
    member = client.write(0, "POST", "/api/users", {"username": "token-user"})[0]["id"]
    path = f"/api/users/{member}"
    for number in itertools.count():
        thing, host = f"token {number}", _host()
        body = {"name": "short", "user_id": member, "role": "member"}
        made = client.write(_host(), "POST", "/api/tokens", body)[0]
        for _ in range(12):
            if not _try_token(client, record, made["token"], thing):
                record.faults.append(f"{thing} is not good")
        _, deactivation, deletion = ways = [
            ("DELETE", f"/api/tokens/{made['id']}", None),
            ("PATCH", path, {"active": False}),
            ("DELETE", path, None),
        ]
        way = CHANCE.choice(ways)
        _, sent, answered = client.write(host, *way)
        record.writes.append(Write(sent, answered, host, thing, 1))
        while time.monotonic() < answered + 2 * LEASE_S:
            _try_token(client, record, made["token"], thing)
        if way is deactivation:
            client.write(_host(), "PATCH", path, {"active": True})
        elif way is deletion:
            client.write(_host(), "POST", f"{path}/restore")
        if stop.is_set():
            return


def _try_token(client: Client, record: Record, token: str, thing: str) -> bool:
    host = _host()
    status, found, began, ended = client.read(host, "/api/me", token)
    if status not in (200, 401):
        record.faults.append(f"{thing} was answered with {status}: {found}")
    record.reads.append(Read(began, ended, host, thing, 0 if status == 200 else 1))
    return status == 200


def _lower(hosts: TwoHosts, client: Client, record: Record, stop: threading.Event) -> None:
    """Lower and raise the role of a viewer, and record how long the token keeps the old role."""
    viewer = client.write(0, "POST", "/api/users", {"username": "viewer", "role": "viewer"})[0]["id"]
    body = {"name": "looks on", "user_id": viewer, "role": "viewer"}
    token = client.write(0, "POST", "/api/tokens", body)[0]["token"]
    for version in itertools.count(1):
        host = _host()
        role = "member" if version % 2 else "viewer"
        _, sent, answered = client.write(host, "PATCH", f"/api/users/{viewer}", {"role": role})
        record.writes.append(Write(sent, answered, host, "role", version))
        # Far longer than any lag, or one version could be taken for the next but one.
        until = answered + 0.5 + CHANCE.random() / 5
        while time.monotonic() < until:
            host = _host()
            status, found, began, ended = client.read(host, f"/api/users/{hosts.user_ids[0]}", token)
            if status not in (200, 403):
                record.faults.append(f"the viewer was answered with {status}: {found}")
            record.reads.append(Read(began, ended, host, "role", status == 200))
        if stop.is_set():
            return


def _host() -> int:
    return CHANCE.randrange(2)
