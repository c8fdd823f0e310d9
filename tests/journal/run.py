"""One run: clients work while the faults of a schedule happen. Returns the journal and the tables after it."""

import threading
import time
import uuid
from collections.abc import Sequence

import psycopg
from psycopg.rows import dict_row

from tests.journal.cluster import Cluster
from tests.journal.http_client import HttpClient
from tests.journal.operations import Final, Journal
from tests.journal.schedule import Step, inject
from tests.journal.token_clients import Reader, TrashWriter, Writer, create_subjects

QUIET_S = 3.0
"""How long the clients go on after the last fault."""


def run(cluster: Cluster, seed: str, steps: Sequence[Step]) -> tuple[Journal, Final]:
    """Run a schedule. Clients make their choices by the seed."""
    journal = Journal()
    clients = _clients(cluster, journal, seed)
    threads = [threading.Thread(target=client.run, name=client.name) for client in clients]
    for thread in threads:
        thread.start()
    try:
        inject(cluster, journal, steps)
        time.sleep(QUIET_S)
    finally:
        for client in clients:
            client.stop.set()
        for thread in threads:
            thread.join()
    return journal, read_tables(cluster.postgres.url)


def _clients(cluster: Cluster, journal: Journal, seed: str) -> list[HttpClient]:
    subjects = create_subjects(cluster)
    writers: list[HttpClient] = [Writer(f"writer {number}", cluster, journal, seed, subjects) for number in (1, 2)]
    readers = [Reader(f"reader {number}", cluster, journal, seed, subjects) for number in (1, 2, 3)]
    return [*writers, *readers, TrashWriter("trash", cluster, journal, seed, subjects)]


def read_tables(url: str) -> Final:
    """The tables at this time."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = [
            connection.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall()  # noqa: S608 - names of ours
            for table, key in (("users", "id"), ("history", "id"), ("tokens", "id"))
        ]
    return Final(*[[_plain(row) for row in found] for found in rows])


def _plain(row: dict) -> dict:
    """The row with its ids as text."""
    return {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in row.items()}
