"""Clients that use no host: SQL from outside the service, and the command line."""

import time
from dataclasses import replace
from typing import Any

import psycopg

from tests.journal.cluster import PASSWORD, Cluster
from tests.journal.http_client import RepeatingClient
from tests.journal.operations import Journal, Operation
from tests.support.service_process import run_program

COMMAND_S = 40.0


class SqlClient(RepeatingClient):
    """Changes the names of subjects by SQL, each time on a new connection."""

    interface = "sql"
    rate = 4.0

    def __init__(self, name: str, cluster: Cluster, journal: Journal, seed: str, subjects: list[str]) -> None:
        super().__init__(name, cluster, journal, seed)
        self.subjects = subjects

    def step(self) -> None:
        operation = outside(self.operation("update", self.random.choice(self.subjects)))
        try:
            with psycopg.connect(self.cluster.postgres.url, autocommit=True, connect_timeout=3) as connection:
                connection.execute("SET statement_timeout = '3s'")
                connection.execute("UPDATE users SET name = %s WHERE id = %s", [operation.marker, operation.target])
        except psycopg.Error as error:
            end(self.journal, operation, "unknown", error=type(error).__name__)
        else:
            end(self.journal, operation, "ok")


class CommandClient(RepeatingClient):
    """Creates users with `flask users create`."""

    interface = "cli"
    rate = 0.25

    def step(self) -> None:
        operation = outside(self.operation("create"))
        command = ("-m", "flask", "users", "create", "--username", str(operation.marker), "--password-stdin")
        env = {"DATABASE_URL": self.cluster.postgres.url, "REDIS_URL": self.cluster.redis.url}
        done = run_program(*command, stdin=PASSWORD, timeout_s=COMMAND_S, **env)
        if done.returncode == 0:
            end(self.journal, operation, "ok", target=done.stdout.strip().rstrip(".").rpartition(" ")[2])
        else:
            end(self.journal, operation, "unknown", error=done.stderr[-200:])


def outside(operation: Operation) -> Operation:
    """The operation without a host."""
    return replace(operation, host=None)


def end(journal: Journal, operation: Operation, outcome: Any, **fields: Any) -> None:
    journal.add(operation, ended=time.monotonic(), outcome=outcome, **fields)
