"""Faults of PostgreSQL, of Redis, and of the ways to them."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from random import Random

import psutil
import psycopg

from embedded.server import Server
from tests.journal.cluster import Cluster, Host
from tests.journal.faults import Breaker, fault

BLOCK_BYTES = 2**16
LOG_FILES = 6
"""More files than PostgreSQL has in reserve for its write-ahead log."""


def _of_server(name: str, server_of: Callable[[Cluster], Server], bound_s: float, *, loses_sessions: bool) -> None:
    """Enter the faults that PostgreSQL and Redis share."""

    def killed(cluster: Cluster, _: Host, __: Random) -> Iterator[None]:
        server_of(cluster).kill()
        yield
        server_of(cluster).start()

    def hung(cluster: Cluster, _: Host, __: Random) -> Iterator[None]:
        server_of(cluster).pause()
        yield
        server_of(cluster).resume()

    def restarted(cluster: Cluster, _: Host, __: Random) -> Iterator[None]:
        server_of(cluster).stop()
        yield
        server_of(cluster).start()

    for kind, breaks in {"killed": killed, "hung": hung, "restarted": restarted}.items():
        loses = loses_sessions and kind != "hung"
        fault(f"{name} {kind}", on_host=False, bound_s=bound_s, loses_sessions=loses)(breaks)


_of_server("db", lambda cluster: cluster.postgres, 10, loses_sessions=False)
_of_server("cache", lambda cluster: cluster.redis, 10, loses_sessions=True)


@fault("db crashed", on_host=False, bound_s=10)
def db_crashed(cluster: Cluster, _: Host, random: Random) -> Iterator[None]:
    """A process of PostgreSQL is killed: PostgreSQL ends all others, and recovers."""
    postmaster = psutil.Process(cluster.postgres.pid or 0)
    with contextlib.suppress(psutil.Error, IndexError):
        random.choice(postmaster.children()).kill()
    yield


def _cut_off(role: str, text: str) -> None:
    def breaks(_: Cluster, host: Host, __: Random) -> Iterator[None]:
        host.network.cut_off(role)
        yield
        host.network.reconnect(role)

    fault(f"host cut off from {text}", bound_s=15, is_possible=lambda cluster: cluster.hosts[0].network.is_separate)(
        breaks
    )


_cut_off("database", "db")
_cut_off("cache", "cache")
_cut_off("client", "clients")


def _slow(role: str, text: str) -> Breaker:
    @fault(f"{text} slow")
    def breaks(_: Cluster, host: Host, random: Random) -> Iterator[None]:
        host.proxies[role].delay_s = random.choice([0.02, 0.1, 0.5])
        yield
        host.proxies[role].delay_s = 0.0

    return breaks


_slow("database", "db")
_slow("cache", "cache")


def _cut_connections(role: str, text: str) -> Breaker:
    @fault(f"connections to {text} cut")
    def breaks(_: Cluster, host: Host, random: Random) -> Iterator[None]:
        for _number in range(random.randint(1, 8)):
            host.proxies[role].cut()
            time.sleep(random.uniform(0, 0.2))
        yield

    return breaks


_cut_connections("database", "db")
_cut_connections("cache", "cache")


@fault("connections of db used up", on_host=False, bound_s=10)
def connections_used_up(cluster: Cluster, _: Host, __: Random) -> Iterator[None]:
    """No connection is left, and those of the service are ended."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(psycopg.connect(cluster.postgres.url, autocommit=True))
        first.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fullstack_app'")
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(psycopg.connect(cluster.postgres.url, connect_timeout=2))
        yield


def has_small_disk(cluster: Cluster) -> bool:
    """Whether PostgreSQL has a file system of its own."""
    return os.path.ismount(cluster.postgres.data_dir.parent)


@fault("disk of db full", on_host=False, bound_s=20, is_possible=has_small_disk)
def disk_full(cluster: Cluster, _: Host, random: Random) -> Iterator[None]:
    """PostgreSQL ends itself if it can't extend its log. As an engine of containers does, this starts it again."""
    filler = cluster.postgres.data_dir.parent / "filler"
    # Without a buffer, whose rest could not be written when the file is closed.
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(BLOCK_BYTES))
    with contextlib.suppress(psycopg.Error), psycopg.connect(cluster.postgres.url, autocommit=True) as connection:
        for _number in range(random.choice([0, LOG_FILES])):
            connection.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
    yield
    filler.unlink()
    # No effect if it runs.
    cluster.postgres.start()
