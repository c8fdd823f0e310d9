"""The connection that health checks keep: replaced when it is lost or the role changes, and closed then."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from app.ops.circuit_breaker import CircuitBreaker
from app.ops.health import Health
from app.ops.service_state import ServiceState, create_state
from embedded import Stack


class Opened:
    """A health check, and all connections that it has opened. `database_url`: of its next connection."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.connections: list[psycopg.Connection[Any]] = []
        self.state: ServiceState = create_state()
        self.health = Health(self.state, self._connect, CircuitBreaker("database", lambda: None), lambda: None)

    def _connect(self, *_: float) -> psycopg.Connection[Any]:
        self.connections.append(psycopg.connect(self.database_url, autocommit=True))
        return self.connections[-1]

    @property
    def status(self) -> str:
        return self.health.database.check().status

    @property
    def closed(self) -> list[bool]:
        return [connection.closed for connection in self.connections]


@pytest.fixture
def opened(servers: Stack) -> Iterator[Opened]:
    made = Opened(servers.postgres.url)
    yield made
    made.health.close()
    assert all(made.closed)


def test_a_connection_is_kept_for_the_next_check(opened: Opened) -> None:
    assert [opened.status for _ in range(3)] == ["ok"] * 3
    assert opened.closed == [False]


def test_a_lost_connection_is_replaced(opened: Opened) -> None:
    assert opened.status == "ok"
    opened.connections[0].close()
    assert [opened.status for _ in range(2)] == ["ok"] * 2
    assert opened.closed == [True, False]


def test_a_connection_of_the_earlier_role_is_closed(opened: Opened) -> None:
    assert opened.status == "ok"
    opened.state.is_role_available = True
    assert [opened.status for _ in range(2)] == ["ok"] * 2
    assert opened.closed == [True, False]


def test_a_connection_of_the_earlier_role_is_not_used_after_a_failure(opened: Opened, servers: Stack) -> None:
    assert opened.status == "ok"
    opened.state.is_role_available, opened.database_url = True, "postgresql://nobody@127.0.0.1:1/none"
    assert [opened.status for _ in range(2)] == ["down"] * 2
    opened.database_url = servers.postgres.url
    assert opened.status == "ok"
    assert opened.closed == [True, False]
