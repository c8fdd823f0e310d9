"""A service that may use a quarter of a core, with a PostgreSQL and a Redis of its own that are not limited."""

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from embedded import stack
from tests.overload.control_group import ControlGroup
from tests.overload.load import Plan, Result
from tests.support.seeded_database import seeded_database
from tests.support.service_process import ROOT, Service, first_administrator

CORES = 0.25
USERS = 20_000
ENVIRONMENT = {
    "WORKERS": "2",
    "WRITE_RATE_PER_MINUTE": "0",
    # Responses are cached, but not asked for again.
    "CACHE_MEMORY_MIB": "16",
}


@dataclass
class Site:
    """The service, its control group, and what the clients know."""

    service: Service
    group: ControlGroup
    token: str
    users: Path
    next_user: int = 0

    @contextlib.contextmanager
    def clients(self, **plan: Any) -> Iterator["Clients"]:
        """Start the clients of a plan (load.Plan). They end after the block."""
        core = max(os.sched_getaffinity(0))
        given = Plan(self.service.port, self.token, str(self.users), core, first_user=self.next_user, **plan)
        command = [sys.executable, "-m", "tests.overload.load", json.dumps(asdict(given))]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                yield Clients(self, process)
            finally:
                process.kill()

    def load(self, **plan: Any) -> Result:
        """Run the clients of a plan (load.Plan)."""
        with self.clients(**plan) as clients:
            return clients.result()

    def processes(self) -> list[psutil.Process]:
        """The launcher and its processes."""
        launcher = psutil.Process(self.service.process.pid)
        return [launcher, *launcher.children(recursive=True)]

    def memory(self) -> int:
        """The memory of all processes, in bytes. Memory that they share counts once."""
        return sum(process.memory_full_info().pss for process in self.processes())


class Clients:
    """The process of the clients."""

    def __init__(self, site: Site, process: "subprocess.Popen[bytes]") -> None:
        self._site, self._process = site, process

    def result(self) -> Result:
        """Wait for the end of the load. The idle and slow connections stay open."""
        assert self._process.stdout is not None
        found = Result(**json.loads(self._process.stdout.readline()))
        self._site.next_user = found.next_user
        return found


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Start everything in `folder`. The service is limited when it is ready."""
    with contextlib.ExitStack() as exits:
        # What else runs on this machine comes after the clients and servers, so that it changes little.
        exits.enter_context(ControlGroup("all")).add([os.getpid()])
        servers = exits.enter_context(stack(folder / "servers"))
        url = exits.enter_context(seeded_database(USERS, servers.postgres.url))
        group = exits.enter_context(ControlGroup("service", CORES))
        service = Service(folder / "service.log", {**ENVIRONMENT, "DATABASE_URL": url, "REDIS_URL": servers.redis.url})
        exits.callback(service.kill)
        service.wait_ready()
        token = first_administrator(service)["Authorization"].removeprefix("Bearer ")
        site = Site(service, group, token, _write_users(folder / "users.json", url))
        for process in site.processes():
            process.cpu_affinity([min(os.sched_getaffinity(0))])
        group.add(process.pid for process in site.processes())
        yield site


def _write_users(file: Path, url: str) -> Path:
    """The id and username of each member, in random order."""
    with psycopg.connect(url) as connection:
        members = "SELECT id::text, username FROM users WHERE deleted_at IS NULL AND role = 'member' ORDER BY id"
        users = connection.execute(members).fetchall()
    random.Random(1).shuffle(users)  # noqa: S311 - no secret
    file.write_text(json.dumps(users))
    return file
