"""Fault 20: a service that nobody asks for anything wakes at most once a second, with all its processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from embedded import Stack
from tests.support.couriers import SLOT, Host
from tests.support.service_process import Service
from tests.support.waiting import BOUND_S, wait_until

_SETTLED_S = 34.0
_WATCHED_S = 30


def _asked(database: psycopg.Connection[Any], name: str) -> list[tuple[Any, ...]]:
    """When each of the service's connections was last asked for something."""
    return database.execute(
        "SELECT pid, query_start FROM pg_stat_activity WHERE application_name = 'fullstack-app' AND datname = %s"
        " ORDER BY pid",
        [name],
    ).fetchall()


def _wakes(service: Service) -> int:
    """How often threads of the service have waited for something: each time that one is woken, it waits once more."""
    launcher, found = psutil.Process(service.process.pid), 0
    for process in [launcher, *launcher.children(recursive=True)]:
        # Not by glob, which finds nothing where it may not look.
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            found += int((thread / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def test_a_service_that_nobody_asks_wakes_at_most_once_a_second(
    serve: Callable[..., Service], servers: Stack, database: psycopg.Connection[Any], new_database: str
) -> None:
    """Fault 20: and it asks neither Redis nor PostgreSQL for anything."""
    service, name = serve(DATABASE_URL=new_database, WORKERS="2"), new_database.rpartition("/")[2]
    user = service.post("/api/users", {"username": "ada"}).json
    time.sleep(_SETTLED_S)
    with redis.Redis.from_url(servers.redis.url) as client:
        commands, asked, wakes = client.info("commandstats"), _asked(database, name), _wakes(service)
        time.sleep(_WATCHED_S)
        woken = _wakes(service) - wakes
        after = client.info("commandstats")
    assert asked
    assert _asked(database, name) == asked
    new = {key: after[key]["calls"] - commands.get(key, {"calls": 0})["calls"] for key in after}
    assert {key for key, calls in new.items() if calls} <= {"cmdstat_info"}
    print(f"woken {woken} times in {_WATCHED_S} s")  # noqa: T201 - shown by -rP
    assert woken <= _WATCHED_S

    # The first who asks wakes it.
    def is_known() -> bool:
        service.get(f"/api/users/{user['id']}")
        return _asked(database, name) != asked

    wait_until(is_known)
    service.end()


def test_what_another_host_writes_is_heard_during_a_rest_and_memory_is_used_again_soon(hosts: list[Host]) -> None:
    """Fault 20: the lease ends when nobody asks, and comes back with the first who does."""
    writer, reader = hosts
    reader.keep()
    time.sleep(_SETTLED_S)
    assert reader.state.lease[0] < time.monotonic_ns()
    stamp = reader.state.stamp(SLOT)
    writer.answers.forget(["k"])
    wait_until(lambda: reader.state.stamp(SLOT) != stamp, seconds=BOUND_S)
    assert reader.memory.recall("k") is None
    wait_until(lambda: reader.memory.usable, seconds=4)
    reader.keep(b"new")
