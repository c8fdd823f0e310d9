"""One run: clients work while the faults of a schedule happen. Returns the journal and the tables after it."""

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.journal.cluster import Cluster
from tests.journal.credential_clients import SessionEnder, TokenEnder
from tests.journal.http_client import RepeatingClient
from tests.journal.operations import Final, Journal
from tests.journal.outside_clients import CommandClient, SqlClient
from tests.journal.race_clients import AdminRace, NameRace
from tests.journal.schedule import Step, inject
from tests.journal.session_clients import ConsoleClient, SessionClient
from tests.journal.token_clients import Creator, Reader, TrashWriter, Writer, create_subjects

QUIET_S = 3.0
"""How long the clients go on after the last fault."""


def run(cluster: Cluster, seed: str, steps: Sequence[Step], seconds: float) -> tuple[Journal, Final]:
    """Run a schedule. Clients make their choices by the seed."""
    journal = Journal()
    clients = _clients(cluster, journal, seed)
    threads = [threading.Thread(target=client.run, name=client.name) for client in clients]
    for thread in threads:
        thread.start()
    try:
        inject(cluster, journal, steps, seconds)
        time.sleep(QUIET_S)
    finally:
        for client in clients:
            client.stop.set()
        for thread in threads:
            thread.join()
    return journal, read_tables(cluster.postgres.url)


def _clients(cluster: Cluster, journal: Journal, seed: str) -> list[RepeatingClient]:
    subjects = create_subjects(cluster)
    of_subjects = [
        *[(Writer, f"writer {number}") for number in (1, 2)],
        *[(Reader, f"reader {number}") for number in (1, 2, 3)],
        *(
            (TrashWriter, "trash"),
            (Creator, "creator"),
            (SessionClient, "session"),
            (ConsoleClient, "console"),
            (SqlClient, "sql"),
        ),
    ]
    others = ((TokenEnder, "tokens"), (SessionEnder, "sessions"), (NameRace, "names"), (AdminRace, "administrators"))
    return [
        *(kind(name, cluster, journal, seed, subjects) for kind, name in of_subjects),
        *(kind(name, cluster, journal, seed) for kind, name in others),
        CommandClient("commands", cluster, journal, seed),
    ]


def read_tables(url: str) -> Final:
    """The tables at this time."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = [
            connection.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall()  # noqa: S608 - names of ours
            for table, key in (("users", "id"), ("history", "id"), ("tokens", "id"))
        ]
    return Final(*[[_plain(row) for row in found] for found in rows])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its ids as text."""
    return {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in row.items()}
