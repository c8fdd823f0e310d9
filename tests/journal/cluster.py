"""The service on two hosts, with a PostgreSQL and a Redis of its own. Faults break its parts."""

import contextlib
import http.client
import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from embedded import FAST, Postgres, Redis
from tests.journal.network import Network
from tests.journal.small_disk import small_disk
from tests.journal.wall_clock import WallClock
from tests.support.service_process import ROOT, Service, administrator_token
from tests.support.tcp_proxy import Proxy

ADMIN_EMAIL, PASSWORD = "first@example.org", "correct horse battery"
START_S = 40.0
SMALL_LOG = {"max_wal_size": "64MB", "min_wal_size": "32MB"}
"""So that the write-ahead log does not fill a small disk by itself."""
ENVIRONMENT = {
    "WORKERS": "2",
    "WRITE_RATE_PER_MINUTE": "0",
    # Faults of seconds are many, and a client does not wait longer than the service.
    "DATABASE_TIMEOUT_S": "2",
    # A machine that is busy with all of this is no reason to lose Redis.
    "REDIS_TIMEOUT_MS": "1000",
    "LOG_LEVEL": "warning",
    "DRAIN_DELAY_S": "0.2",
    "ADMIN_EMAIL": ADMIN_EMAIL,
    "ADMIN_PASSWORD": PASSWORD,
}


class Host:
    """One host: a network, proxies to the servers, and `python -m app`, whose program is in `root`."""

    def __init__(self, index: int, folder: Path, network: Network, proxies: dict[str, Proxy], urls: list[str]) -> None:
        self.index, self.network, self.proxies = index, network, proxies
        self._folder, self._starts = folder, itertools.count()
        self.root, self.env = ROOT, dict(ENVIRONMENT)
        for variable, role, url in zip(("DATABASE_URL", "REDIS_URL"), proxies, urls, strict=True):
            found = urlsplit(url)
            own = f"{network.address(role)}:{proxies[role].port}"
            self.env[variable] = found._replace(netloc=f"{found.netloc.rpartition('@')[0]}@{own}").geturl()
        self.env["LISTEN_ADDRESS"] = network.address("host")
        self.env["TRUSTED_PROXIES"] = network.address("client")
        self.service: Service
        self.logs: list[Path] = []
        self.clock: WallClock | None = None

    @property
    def origin(self) -> str:
        return f"http://{self.service.address}:{self.service.port}"

    def start(self) -> None:
        """Start the service, always on the same port. Processes of an earlier start are killed."""
        self.network.kill_processes()
        self.logs.append(self._folder / f"host-{self.index}-{next(self._starts)}.log")
        self.service = Service(
            self.logs[-1],
            self.env,
            address=self.network.address("host"),
            prefix=self.network.command,
            root=self.root,
        )
        self.env["PORT"] = str(self.service.port)

    def restart(self) -> None:
        """Start until the service is ready, again if it ends, as an engine of containers does.

        While another fault lasts it may not be ready after START_S. The probe judges that.
        """
        self.start()
        wait_until(self._is_ready, START_S)

    def _is_ready(self) -> bool:
        if self.service.process.poll() is not None:
            self.start()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.service.get("/api/health/ready", timeout=2).status == 200
        return False

    def use_clock(self, clock: WallClock) -> None:
        """Let the next start use this clock."""
        self.env |= clock.env
        self.clock = clock

    def launcher(self) -> psutil.Process:
        return psutil.Process(self.service.process.pid)

    def workers(self) -> list[psutil.Process]:
        return [child for child in self._children() if _listens(child)]

    def pollers(self) -> list[psutil.Process]:
        """The change poller; none or two while it is replaced."""
        return [child for child in self._children() if not _listens(child)]

    def _children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            found = self.launcher().children()
            return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
        return []


def _listens(process: psutil.Process) -> bool:
    """Whether the process has a socket that listens, in whatever network it is."""
    folder = Path("/proc", str(process.pid))
    with contextlib.suppress(OSError):
        rows = [line.split() for name in ("tcp", "tcp6") for line in (folder / "net" / name).read_text().splitlines()]
        listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
        return any(str(file.readlink()) in listening for file in (folder / "fd").iterdir())
    return False


class Cluster:
    """Two hosts, a PostgreSQL and a Redis. `token` belongs to an administrator who cannot sign in."""

    def __init__(self, folder: Path, postgres: Postgres, redis: Redis, hosts: list[Host]) -> None:
        self.folder, self.postgres, self.redis, self.hosts = folder, postgres, redis, hosts
        self.token = ""

    def set_up(self) -> None:
        """Sign in as the first administrator, and create another one with a token."""
        self.token = administrator_token(self.hosts[0].service, ADMIN_EMAIL, PASSWORD)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the answer of the first host to a request of the administrator, outside the journal."""
        answer = self.hosts[0].service(method, path, body, {"Authorization": f"Bearer {self.token}"})
        assert answer.status < 300, answer
        return answer.json if answer.body else None


@contextlib.contextmanager
def running_cluster(folder: Path, disk_mb: int = 400) -> Iterator[Cluster]:
    """Start everything in `folder`. All processes are killed after the block. disk_mb: the disk of PostgreSQL."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(small_disk(folder / "postgres", disk_mb))
        postgres = stack.enter_context(Postgres(folder / "postgres" / "data", settings={**FAST, **SMALL_LOG}))
        redis = stack.enter_context(Redis(folder / "redis"))
        servers = {"database": postgres, "cache": redis}
        hosts = []
        for index in (0, 1):
            network = stack.enter_context(Network(index + 1))
            proxies = {
                role: stack.enter_context(Proxy(server.port, network.address(role))) for role, server in servers.items()
            }
            hosts.append(Host(index, folder, network, proxies, [postgres.url, redis.url]))
        if WallClock.is_possible():
            hosts[1].use_clock(WallClock(folder))
        for host in hosts:
            host.start()
            stack.callback(_kill, host)
        for host in hosts:
            host.service.wait_ready(START_S)
        cluster = Cluster(folder, postgres, redis, hosts)
        cluster.set_up()
        yield cluster


def _kill(host: Host) -> None:
    for process in [host.launcher(), *host.workers(), *host.pollers()] if host.service.process.poll() is None else []:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)
    host.service.kill()


def wait_until(true: Any, seconds: float) -> bool:
    """Wait until `true()` holds. Returns False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
