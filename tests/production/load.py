"""Clients that read and write without a pause, and remember each response that is not the expected one."""

import http.client
import itertools
import json
import ssl
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from tests.stack.compose import wait_until
from tests.stack.production_stack import ADMIN, SITE, ProductionStack

CLIENTS = 6


def create_token(stack: ProductionStack, name: str, service: str = "web") -> str:
    """The secret of a new API token of the administrator."""
    words = ("flask", "tokens", "create", "--name", name, "--role", "admin", "--user", ADMIN, "--expires-in", "1d")
    return stack("exec", "-T", service, *words).stdout.strip()


class Load:
    """Each client reads, then creates a user, and so on.

    with_keys: whether each POST has an Idempotency-Key, with which a client may repeat it.
    keep_alive: whether a client uses its connection to Caddy for further requests.
    repeats: whether a client whose connection is closed without a response repeats the request, once.
    """

    def __init__(
        self, stack: ProductionStack, token: str, *, with_keys: bool, keep_alive: bool = True, repeats: bool = False
    ) -> None:
        self._stack, self._token, self._with_keys = stack, token, with_keys
        self._keep_alive, self._repeats = keep_alive, repeats
        self._over = threading.Event()
        self.created: list[str] = []
        self.repeated: list[str] = []
        self.unexpected: list[object] = []

    def wait_for_more(self, count: int = 100) -> None:
        """Wait until clients have created this many users from now on."""
        before = len(self.created)
        wait_until(lambda: self.unexpected or len(self.created) >= before + count, "users are created")

    def run(self, client: int) -> None:
        with closing(self._stack.connection(timeout=60)) as connection:
            for number in itertools.count():
                if self._over.is_set():
                    return
                self._ask(connection, "GET", "/api/users?limit=5", None, 200)
                self._ask(connection, "POST", "/api/users", {"username": f"load-{uuid.uuid4().hex}"}, 201)
                if number % 10 == client:
                    # A new connection now and then.
                    connection.close()

    def stop(self) -> None:
        self._over.set()

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: object, expected: int) -> None:
        headers = {"Host": SITE, "Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if self._with_keys and body is not None:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        request = (method, path, None if body is None else json.dumps(body), headers)
        try:
            try:
                status, content = _exchange(connection, *request)
            except (ConnectionError, ssl.SSLError) as error:
                if not self._repeats:
                    raise
                self.repeated.append(f"{method}: {error!r}")
                connection.close()
                status, content = _exchange(connection, *request)
        except (OSError, http.client.HTTPException) as error:
            self.unexpected.append((method, repr(error)))
            connection.close()
            return
        if status != expected:
            self.unexpected.append((method, status, content[:300]))
        elif method == "POST":
            self.created.append(json.loads(content)["id"])
        if not self._keep_alive:
            connection.close()


def _exchange(connection: http.client.HTTPConnection, *request: Any) -> tuple[int, bytes]:
    connection.request(*request)
    response = connection.getresponse()
    return response.status, response.read()


@contextmanager
def load(stack: ProductionStack, token: str, **options: bool) -> Iterator[Load]:
    """Run the clients, and check that each request got its response, and that no user is lost or there twice."""
    clients = Load(stack, token, **options)
    before = int(stack.sql("SELECT count(*) FROM users"))
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(clients.run, client) for client in range(CLIENTS)]
        try:
            clients.wait_for_more()
            yield clients
            clients.wait_for_more()
        finally:
            clients.stop()
        for each in running:
            each.result(60)
    assert not clients.unexpected, clients.unexpected[:5]
    there = int(stack.sql("SELECT count(*) FROM users"))
    assert there == before + len(clients.created), f"{before} + {len(clients.created)} users, and {there} are there"
