"""PostgreSQL and Redis side by side, as the service needs them."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from embedded.postgres import Postgres
from embedded.redis import Redis

# For data that nobody misses after a power cut. kill() loses nothing all the same, as what
# was committed is with the kernel by then (it would not be with synchronous_commit off).
FAST: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})


@dataclass(frozen=True)
class Stack:
    """The two servers of one service."""

    postgres: Postgres
    redis: Redis

    def start(self) -> None:
        """Start both at once; when one fails, neither stays. Raises: as Server.start does."""
        try:
            self._both("start")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both at once."""
        self._both("stop")

    def _both(self, verb: str) -> None:
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(getattr(server, verb)) for server in (self.postgres, self.redis)]
        for call in calls:
            call.result()


@contextmanager
def stack(folder: Path, version: int = 18, settings: Mapping[str, str] = FAST) -> Iterator[Stack]:
    """Run both servers with their data in `folder`; by default fast rather than durable."""
    servers = Stack(Postgres(folder / "postgres", version, settings=settings), Redis(folder / "redis"))
    servers.start()
    try:
        yield servers
    finally:
        servers.stop()
