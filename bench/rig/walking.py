"""Records the functions of app/ that a request enters, on a running service with real servers.

A request is sent several times. A function counts if two of them entered it: so occasional work does not count, and
one unusual request on a busy machine hides nothing. Before each request, SQL changes the user and the owner of the
credential, which invalidates the caches.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg

from embedded import stack
from embedded.ports import free_port
from embedded.service import Service
from rig import ROOT
from rig.api import ADMIN, await_ready, create_token, send, sign_in
from rig.starting import ENVIRON
from rig.traced import SERVED

_OWNER = {"email": "walker@example.org", "password": "correct horse battery staple"}
_USERS = 40
_REPEATS, _LEAST = 7, 2
_WARM_UP = 10
_IDLE_S = 2.0
_INVALIDATED_S = 0.5
"""Five times the longest time until a change by SQL is known."""
_FINISHED_S = 0.15
"""How long a window stays open after the response, for work that follows the response."""


class Function(NamedTuple):
    """A function of app/: its file, the line of its `def` and its name."""

    file: str
    line: int
    name: str


@dataclass(frozen=True)
class Walk:
    """The functions that one kind of request enters, in order."""

    title: str
    functions: tuple[Function, ...]

    @property
    def files(self) -> list[str]:
        """Each file once, in the order in which they are entered."""
        return list(dict.fromkeys(function.file for function in self.functions))


class _Windows:
    """The functions that the processes of the service recorded in numbered windows."""

    def __init__(self, folder: Path) -> None:
        self.number, self.notes, self._last = folder / "window", folder / "notes", 0
        self.number.write_bytes(b"\0")
        self.notes.touch()

    @contextmanager
    def open(self) -> Iterator[int]:
        """Record functions inside the block. Yields the number of the window."""
        self._last += 1
        self._set(self._last)
        yield self._last
        self._set(0)

    def _set(self, number: int) -> None:
        with self.number.open("r+b") as file:
            file.write(bytes([number]))

    def noted(self, window: int) -> list[tuple[int, int, Function]]:
        """Process, thread and function, in the order of time."""
        lines = [line.split("\t") for line in self.notes.read_text(encoding="utf-8").splitlines()]
        return [
            (int(process), int(thread), Function(file, int(line), name))
            for number, process, thread, file, line, name in lines
            if int(number) == window
        ]


class Walker:
    """Sends requests to a traced service that has some users. Created by `walker`."""

    def __init__(self, port: int, database_url: str, windows: _Windows) -> None:
        self._port, self._database_url, self._windows = port, database_url, windows
        admin = sign_in(port)
        # Other requests between two windows keep the service active.
        self._other = create_token(port, admin, "keeps the service awake")
        self._ids = [self._create({"username": f"user-{number}"}, admin) for number in range(_USERS)]
        self._owner_id = self._create({**_OWNER, "role": "admin"}, admin)
        self._session = sign_in(port, _OWNER)
        self._token = create_token(port, self._session, "is measured")
        with self._windows.open() as self._idle_window:
            time.sleep(_IDLE_S)

    def get_user(self) -> Walk:
        """GET one user by token."""
        return self._walk("GET one user by token", lambda number: ("GET", self._path(number), None, self._token))

    def patch_user(self) -> Walk:
        """PATCH of a user by token."""
        return self._walk(
            "PATCH of a user by token",
            lambda number: ("PATCH", self._path(number), {"name": f"Name {number}"}, self._token),
        )

    def search(self) -> Walk:
        """A search on the console's page, by session."""
        page = "/people?q=user-{}"
        return self._walk("search in the console", lambda number: ("GET", page.format(number), None, self._session))

    def _walk(self, title: str, request: Callable[[int], tuple[str, str, object, dict[str, str]]]) -> Walk:
        for number in range(_WARM_UP):
            self._send(*request(number))
        found: Counter[Function] = Counter()
        order: list[Function] = []
        for number in range(_WARM_UP, _WARM_UP + _REPEATS):
            self._empty_caches(number)
            with self._windows.open() as window:
                self._send(*request(number))
                time.sleep(_FINISHED_S)
            entered = self._entered(window)
            found.update(entered)
            order = [*order, *(function for function in entered if function not in order)]
        return Walk(title, tuple(function for function in order if found[function] >= _LEAST))

    def _entered(self, window: int) -> list[Function]:
        """The functions of the process that served the request, without those that its threads enter when idle."""
        noted, idle = self._windows.noted(window), set(self._windows.noted(self._idle_window))
        serving = {process for process, _, function in noted if function.file == SERVED}
        return list(
            dict.fromkeys(
                function
                for process, thread, function in noted
                if process in serving and function.file != SERVED and (process, thread, function) not in idle
            )
        )

    def _empty_caches(self, number: int) -> None:
        changed = [self._ids[number], self._owner_id]
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            connection.execute("UPDATE users SET name = name || '.' WHERE id = ANY (%s::uuid[])", [changed])
        until = time.monotonic() + _INVALIDATED_S
        while time.monotonic() < until:
            self._send("GET", self._path(0), None, self._other)
            time.sleep(0.01)

    def _path(self, number: int) -> str:
        return f"/api/users/{self._ids[number]}"

    def _create(self, user: dict[str, str], session: dict[str, str]) -> str:
        return str(send(self._port, "POST", "/api/users", user, session).json()["id"])

    def _send(self, method: str, path: str, body: object, headers: dict[str, str]) -> None:
        response = send(self._port, method, path, body, headers)
        if response.status != 200:  # noqa: PLR2004
            raise RuntimeError(f"{method} {path} gave {response.status}: {response.body[:500]!r}")


@contextmanager
def walker(python: str, postgres: int) -> Iterator[Walker]:
    """Run a traced service of one worker on a new database, with the interpreter `python`."""
    with tempfile.TemporaryDirectory() as name, stack(Path(name), postgres) as servers:
        windows, port = _Windows(Path(name)), free_port()
        settings = {
            **ENVIRON,
            "DATABASE_URL": servers.postgres.url,
            "REDIS_URL": servers.redis.url,
            "ADMIN_EMAIL": ADMIN["email"],
            "ADMIN_PASSWORD": ADMIN["password"],
            "PORT": str(port),
            "WORKERS": "1",
            "LOG_LEVEL": "warning",
            # So that a busy machine does not open the circuit breaker of Redis.
            "REDIS_TIMEOUT_MS": "1000",
        }
        command = [python, str(ROOT / "bench/rig/traced.py"), str(windows.number), str(windows.notes)]
        service = Service(command, port, settings, ROOT)
        try:
            await_ready(service)
            yield Walker(port, servers.postgres.url, windows)
        finally:
            service.stop()
