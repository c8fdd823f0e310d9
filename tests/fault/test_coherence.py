"""Two hosts of two processes each, asked and changed at random: no read is older than the promise.

The promise (docs/api.md, "What a read sees"): a read that begins after a write was answered sees that write or a later
one, at once on the host that answered it, 100 ms later on others. A run lasts for COHERENCE_S seconds (default 12; a
release is held to 60: `COHERENCE_S=60 pytest tests/fault/test_coherence.py -rP`).

Nothing is allowed for measuring, since it only errs to one side: an answer was given before its client has read it,
and a read begins before the server hears of it; all clients and servers are on one clock.

Without PostgreSQL reads are 503, and so are writes: test_change_poller.py.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from app.cache.change_poller import LEASE_S
from embedded import Redis
from tests.support.records import Record
from tests.support.service_process import Service
from tests.support.two_hosts import CHANCE, TwoHosts, run

FOR_S = float(os.environ.get("COHERENCE_S", "12"))


@pytest.fixture
def start_hosts(
    serve: Callable[..., Service],
    own_redis: Redis,
    empty: Callable[[], None],  # noqa: ARG001 - it is called for its effect
) -> Callable[..., TwoHosts]:
    """Start two services. Each is a host with its own memory."""

    def start(**env: str) -> TwoHosts:
        own = {"WORKERS": "2", "REDIS_URL": own_redis.url, "WRITE_RATE_PER_MINUTE": "0", "LOG_LEVEL": "warning", **env}
        made = TwoHosts([serve(**own) for _ in range(2)])
        made.set_up()
        return made

    return start


@pytest.fixture
def frequent_thread_switches() -> Iterator[None]:
    """Switch threads often, so clients record times without delay."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.timeout(FOR_S + 120)
@pytest.mark.usefixtures("frequent_thread_switches")
def test_no_read_of_two_hosts_is_older_than_promised(
    start_hosts: Callable[..., TwoHosts], database: psycopg.Connection[Any]
) -> None:
    # A machine that is busy with all of this is no reason to lose Redis: only one host would.
    hosts = start_hosts(REDIS_TIMEOUT_MS="500")
    before = transactions(database)
    record = run(hosts, FOR_S)
    for service in hosts.services:
        # A process tells its numbers when it ends.
        assert service.end() == 0
    asked, answered = transactions(database) - before, len({(read.began, read.host) for read in record.reads})
    print(f"{answered / FOR_S:.0f} answers to reads a second, {asked} transactions")  # noqa: T201 - shown by -rP
    require_coherent(record, "healthy")
    assert [
        event for service in hosts.services for event in service.events if event["event"] == "server_unavailable"
    ] == []
    # Without caches each read takes a transaction or more; writes, and the questions of the pollers, take some, too.
    assert asked < answered, "memory was hardly used"


@pytest.mark.timeout(FOR_S + 120)
@pytest.mark.usefixtures("frequent_thread_switches")
def test_no_read_is_older_than_promised_while_redis_is_killed_hangs_and_comes_back(
    start_hosts: Callable[..., TwoHosts], own_redis: Redis
) -> None:
    def break_and_mend(seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        for kind in itertools.cycle(["killed", "hung"]):
            (own_redis.kill if kind == "killed" else own_redis.pause)()
            # Also so short that some lose it and others do not.
            time.sleep(CHANCE.uniform(0.03, 0.6))
            (own_redis.start if kind == "killed" else own_redis.resume)()
            # Sometimes it breaks again before everybody is back, sometimes memory is in use by then.
            time.sleep(CHANCE.choice([0.1, 0.5, 2.5]))
            if time.monotonic() > ends_at:
                return

    require_coherent(run(start_hosts(), FOR_S, break_and_mend), "Redis comes and goes")


def require_coherent(record: Record, kind: str) -> None:
    """No read is older than the bound."""
    lags = list(record.lags())
    longest = max((lag for lag, _ in lags), default=0.0)
    print(  # noqa: T201 - shown by -rP
        f"{kind}: {len(record.reads)} reads, {len(record.writes)} writes,"
        f" the longest lag of another host {1000 * longest:.1f} ms, {sum(lag > 0 for lag, _ in lags)} reads lagged"
    )
    assert record.faults == []
    stale = [(round(1000 * lag, 1), read) for lag, read in lags if lag > LEASE_S]
    assert stale == [], f"{len(stale)} reads were too old"
    assert len(record.writes) > 5 * FOR_S


def transactions(database: psycopg.Connection[Any]) -> int:
    """The number of transactions in this database since its creation."""
    database.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
    sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return database.execute(sql).fetchone()[0]
