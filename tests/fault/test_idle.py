"""An idle service wakes at most once a second, in all processes together."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from app.cache.change_poller import LEASE_S
from embedded import Stack
from tests.support.service_process import Service, first_administrator
from tests.support.waiting import wait_until

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


def test_an_idle_service_wakes_at_most_once_a_second(
    serve: Callable[..., Service], servers: Stack, database: psycopg.Connection[Any], new_database: str
) -> None:
    """It sends no query to Redis or PostgreSQL."""
    service, name = serve(DATABASE_URL=new_database, WORKERS="2"), new_database.rpartition("/")[2]
    headers = first_administrator(service)
    path = "/api/me"
    for _ in range(20):
        assert service.get(path, headers=headers).status == 200
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

    # The first who asks wakes it, and soon caches are used again.
    with psycopg.connect(new_database, autocommit=True) as own:
        own.execute("UPDATE users SET name = 'By SQL'")
        assert service.get(path, headers=headers).json["name"] == "By SQL"
        began = time.monotonic()
        wait_until(lambda: _is_kept(service, path, headers, own), seconds=5)
        print(f"caches are used again after {time.monotonic() - began:.2f} s")  # noqa: T201 - shown by -rP
        own.execute("UPDATE users SET name = 'Heard'")
        time.sleep(LEASE_S)
        assert {service.get(path, headers=headers).json["name"] for _ in range(8)} == {"Heard"}
    service.end()


def _is_kept(service: Service, path: str, headers: dict[str, str], own: psycopg.Connection[Any]) -> bool:
    """Whether a worker responds from its cache. An internal change by SQL shows this, and is undone."""
    before = [service.get(path, headers=headers).json["name"] for _ in range(8)]
    own.execute("BEGIN; SET LOCAL fullstack_app.internal = 'yes'; UPDATE users SET name = name || '?'; COMMIT")
    after = [service.get(path, headers=headers).json["name"] for _ in range(4)]
    own.execute("BEGIN; SET LOCAL fullstack_app.internal = 'yes'; UPDATE users SET name = rtrim(name, '?'); COMMIT")
    return after[-1] in before
