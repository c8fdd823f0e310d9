"""One run: clients work while samples are taken and written to a file."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

from tests.soak.client import Client, Load
from tests.soak.outside_clients import CommandClient, SqlClient
from tests.soak.samples import Sampler
from tests.soak.session_clients import BulkClient, ConsoleClient, SessionClient
from tests.soak.site import PASSWORD, Site
from tests.soak.token_clients import Burst, Passing, Reader, Refused, TokenClient, Writer, base_user
from tests.support.results import day_and_commit

CLIENTS: tuple[tuple[type[Client], int], ...] = (
    *((Reader, 2), (Writer, 1), (Passing, 1), (TokenClient, 1), (Refused, 1)),
    *((SessionClient, 1), (ConsoleClient, 1), (BulkClient, 1), (SqlClient, 1), (CommandClient, 1)),
)
"""Kinds of clients, and how many there are of each."""
BASE, CROWD = 200, 2_000
"""CROWD: users that nobody changes. Lists of more than 1,000 users are cached in Redis."""
ACCOUNTS, FEW_ACCOUNTS = 20, 4
"""Users of each kind who sign in: sign-ins to one account are limited to 100 an hour. In a run of minutes, fewer are
counted all before the samples count.
"""
BURST_CLIENTS = 32
MAX_UNAVAILABLE = 0.001
"""The share of requests that may receive 503 with Retry-After, because the machine has other work too."""


def run(site: Site, seed: str, seconds: float, file: Path) -> Load:
    """Run the clients. Writes a line of JSON about the run, and one for each sample. Returns the load."""
    load = Load(site, seed)
    create_users(load, ACCOUNTS if seconds > 600 else FEW_ACCOUNTS)
    clients = [kind(f"{kind.__name__} {number}", load) for kind, count in CLIENTS for number in range(1, count + 1)]
    threads = [threading.Thread(target=client.run, name=client.name) for client in clients]
    send_burst(load)
    sampler = Sampler(load)
    for thread in threads:
        thread.start()
    try:
        with file.open("w") as lines, sampler:
            _write(lines, {"run": f"{day_and_commit()}, seed {seed}"})
            _sample_until(time.monotonic() + seconds, interval_s(seconds), lambda: _write(lines, sampler.sample()))
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
    if load.counts["unavailable"] > MAX_UNAVAILABLE * load.counts["requests"]:
        load.note(f"{load.counts['unavailable']} requests were answered with 503")
    return load


def interval_s(seconds: float) -> float:
    """The time between two samples: hundreds of a long run, and dozens of a short one."""
    return min(10.0, max(1.0, seconds / 100))


def create_users(load: Load, accounts: int) -> None:
    """Create the users that exist during the whole run."""

    def create(**body: Any) -> str:
        return str(load.site.request("POST", "/api/users", body)["id"])

    load.base = [create(**base_user(number)) for number in range(BASE)]
    copy_user(load.site, create(username="crowd", name="Crowd"), CROWD)
    for role, ids in (("editor", load.editors), ("admin", load.admins)):
        ids += [create(username=f"{role}{number}", role=role, password=PASSWORD) for number in range(accounts)]


def send_burst(load: Load) -> None:
    """Send many requests at once, so that the pools of connections and threads are as large as they become."""
    with ThreadPoolExecutor(BURST_CLIENTS) as pool:
        bursts = [Burst(f"burst {number}", load) for number in range(BURST_CLIENTS)]
        for done in [pool.submit(burst.step) for burst in bursts]:
            done.result()


def copy_user(site: Site, user_id: str, count: int) -> None:
    """Copy a user by SQL, with other usernames."""
    columns = "name, name_key, role, active, attributes, search_vector"
    statement = (
        f"INSERT INTO users (username, username_key, {columns}) SELECT username || n, username_key || n, {columns}"  # noqa: S608 - names of ours
        " FROM users, generate_series(1, %s) AS n WHERE id = %s"
    )
    with psycopg.connect(site.servers.postgres.url) as connection:
        connection.execute(statement, [count, user_id])


def _sample_until(end: float, interval: float, sample: Callable[[], None]) -> None:
    due = time.monotonic()
    while due < end:
        sample()
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _write(lines: Any, sample: dict[str, Any]) -> None:
    lines.write(json.dumps(sample) + "\n")
    lines.flush()
