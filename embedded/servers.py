"""Starts and stops PostgreSQL and Redis together."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from embedded.postgres import Postgres
from embedded.redis import Redis

# For data that may be lost after a power failure. kill() loses nothing, since the kernel has all committed data (with
# synchronous_commit off it would not).
FAST: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})


@dataclass(frozen=True)
class Stack:
    """The servers of one service."""

    postgres: Postgres
    redis: Redis

    def start(self) -> None:
        """Start both concurrently. If one fails, the other is stopped. Raises: the errors of Server.start"""
        try:
            self._both("start")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both concurrently."""
        self._both("stop")

    def _both(self, verb: str) -> None:
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(getattr(server, verb)) for server in (self.postgres, self.redis)]
        for call in calls:
            call.result()


@contextmanager
def stack(folder: Path, version: int = 18, settings: Mapping[str, str] = FAST) -> Iterator[Stack]:
    """Run both servers with their data in `folder`. By default they are fast, not durable."""
    servers = Stack(Postgres(folder / "postgres", version, settings=settings), Redis(folder / "redis"))
    servers.start()
    try:
        yield servers
    finally:
        servers.stop()
