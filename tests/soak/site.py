"""The service as an operator starts it, with two workers, and a PostgreSQL and a Redis of its own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from embedded import Stack, stack
from tests.soak.growth import warm_up_s
from tests.support.service_process import Service, administrator_token

ADMIN_EMAIL, PASSWORD = "first@example.org", "correct horse battery"
WORKERS = 2
START_S = 60.0
ENVIRONMENT = {
    "WORKERS": str(WORKERS),
    "WRITE_RATE_PER_MINUTE": "0",
    # Clients name an address of their own when they sign in: sign-ins from one address are limited.
    "TRUSTED_PROXIES": "127.0.0.1",
    # It is full before the samples count.
    "CACHE_MEMORY_MIB": "8",
    # A machine that is busy with other work is no reason to lose Redis.
    "REDIS_TIMEOUT_MS": "1000",
    "LOG_LEVEL": "warning",
    "ADMIN_EMAIL": ADMIN_EMAIL,
    "ADMIN_PASSWORD": PASSWORD,
}
SERVER_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    # More often than by default, so that a run of minutes contains several.
    "autovacuum_naptime": "5s",
}


class Site:
    """A running service, its processes by name, and the token of an administrator who cannot sign in."""

    def __init__(self, folder: Path, servers: Stack, service: Service) -> None:
        self.folder, self.servers, self.service = folder, servers, service
        self.temporary = folder / "tmp"
        self.processes: dict[str, psutil.Process] = {}
        self.token = ""

    @property
    def origin(self) -> str:
        return f"http://{self.service.address}:{self.service.port}"

    def set_up(self) -> None:
        """Sign in as the first administrator, and create another one with a token."""
        self.token = administrator_token(self.service, ADMIN_EMAIL, PASSWORD)
        self.processes = self._named_processes()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the response to a request of the administrator."""
        answer = self.service(method, path, body, {"Authorization": f"Bearer {self.token}"})
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    def replaced_processes(self) -> list[str]:
        """The names of the processes that have ended."""
        return [name for name, process in self.processes.items() if not process.is_running()]

    def _named_processes(self) -> dict[str, psutil.Process]:
        launcher = psutil.Process(self.service.process.pid)
        children = sorted(launcher.children(), key=lambda child: child.pid)
        workers = [child for child in children if _listens(child)]
        pollers = [child for child in children if child not in workers]
        assert (len(workers), len(pollers)) == (WORKERS, 1), children
        named = {f"worker {number}": worker for number, worker in enumerate(workers, 1)}
        return {"launcher": launcher, **named, "change poller": pollers[0]}


def _listens(process: psutil.Process) -> bool:
    return any(connection.status == psutil.CONN_LISTEN for connection in process.net_connections())


@contextlib.contextmanager
def running_site(folder: Path, seconds: float) -> Iterator[Site]:
    """Start everything in `folder`, for a run of so many seconds. All processes are ended after the block."""
    temporary = folder / "tmp"
    temporary.mkdir()
    with stack(folder / "servers", settings=SERVER_SETTINGS) as servers:
        own = {
            "DATABASE_URL": servers.postgres.url,
            "REDIS_URL": servers.redis.url,
            "TMPDIR": os.fspath(temporary),
            # Values expire before the samples count.
            "CACHE_TTL_S": str(int(min(120, warm_up_s(seconds)))),
        }
        service = Service(folder / "service.log", {**ENVIRONMENT, **own})
        try:
            service.wait_ready(START_S)
            site = Site(folder, servers, service)
            site.set_up()
            yield site
        finally:
            service.kill()
