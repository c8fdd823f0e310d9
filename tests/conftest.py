"""What the tests share: one private PostgreSQL and Redis, and the application on top of them."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from flask import Flask
from psycopg import sql
from sqlalchemy import text

from app import create_app
from app.auth import login
from app.config import load_settings
from app.db.migrate import prepare
from app.http.services import services_of
from embedded import Stack, stack
from tests.support import skipped
from tests.support.api_client import ApiClient
from tests.support.empty_tables import empty_tables
from tests.support.engines import engine_of
from tests.support.leases import grant_lease
from tests.support.service_process import Service

BEGAN_S = pytest.StashKey[float]()
POSTGRES = int(os.environ.get("TEST_POSTGRES", "18"))
INTERNAL = "-c fullstack_app.internal=yes"
"""Options of a connection whose changes the history does not record, as those of the service."""


def pytest_configure(config: pytest.Config) -> None:
    """Remember when the run began."""
    config.stash[BEGAN_S] = time.monotonic()


def pytest_xdist_auto_num_workers() -> int:
    """Run two workers per core: most tests wait for something."""
    return 2 * (os.cpu_count() or 1)


def pytest_report_header() -> list[str]:
    """Say before the first test which ones are left out."""
    return [f"left out: {reason}" for reason in skipped.reasons()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it again after the last one, with what passed and in how many minutes."""
    minutes = (time.monotonic() - config.stash[BEGAN_S]) / 60
    terminalreporter.write_line(
        f"{len(terminalreporter.stats.get('passed', []))} tests passed in {minutes:.1f} minutes"
    )
    for line in pytest_report_header():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL (TEST_POSTGRES=16 for the older one) and Redis, for all tests that do not break them."""
    with stack(tmp_path_factory.mktemp("servers"), POSTGRES) as both:
        prepare(load_settings({}, database_url=both.postgres.url, redis_url=both.redis.url))
        yield both


@pytest.fixture(scope="session")
def make_app(servers: Stack) -> Iterator[Callable[..., Flask]]:
    """Make applications on these servers, or on others; each with a state of its own unless told otherwise."""
    made: list[Flask] = []

    def make(**overrides: Any) -> Flask:
        # PostgreSQL has 100 connections, and hundreds of tests make an application.
        for earlier in made:
            engine_of(earlier).dispose()
        defaults = {
            "database_url": servers.postgres.url,
            "redis_url": servers.redis.url,
            "redis_timeout_ms": 200,
            "log_level": "warning",
        }
        made.append(create_app(**{**defaults, **overrides}))
        # As a start finds out: so a right that the role lacks fails tests.
        services_of(made[-1]).infrastructure.state.is_role_available = True
        return made[-1]

    yield make
    for app in made:
        close(app)


@pytest.fixture(scope="session")
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application that most tests use, with its memory on."""
    made = make_app()
    grant_lease(made)
    return made


@pytest.fixture
def empty(servers: Stack, app: Flask) -> Iterator[Callable[[], None]]:
    """Make the tables, Redis and the memory empty, and the application open, now and whenever it is called."""
    infrastructure = services_of(app).infrastructure

    def clear() -> None:
        with psycopg.connect(servers.postgres.url, autocommit=True, options=INTERNAL) as connection:
            empty_tables(connection)
        with redis.Redis.from_url(servers.redis.url) as client:
            client.flushall()
        infrastructure.generations.invalidate_all()
        infrastructure.state.is_secured = False

    clear()
    yield clear
    # Who stays would close the services that later tests start on these tables.
    with infrastructure.database.transaction() as connection:
        connection.execute(text("DELETE FROM users WHERE role = 'admin'"))


@pytest.fixture
def api(app: Flask, empty: Callable[[], None]) -> ApiClient:  # noqa: ARG001 - it is called for its effect
    """The API on empty tables."""
    return ApiClient(app)


@pytest.fixture(params=["/api", ""], ids=["api", "root"])
def api_or_root(request: pytest.FixtureRequest, app: Flask, api: ApiClient) -> ApiClient:
    """Below /api, and at the root as the exercise has it."""
    return api if request.param == "/api" else ApiClient(app, "")


@pytest.fixture
def without_refusal_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to sign somebody in without waiting."""
    monkeypatch.setattr(login, "REFUSAL_S", 0)


@pytest.fixture
def database(servers: Stack) -> Iterator[psycopg.Connection[Any]]:
    """A connection beside the application."""
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_database(servers: Stack) -> Iterator[str]:
    """The URL of an empty database beside the one that is shared."""
    name = f"new_{uuid.uuid4().hex}"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield servers.postgres.url.replace("/usersdb", f"/{name}")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _starter(servers: Stack, folder: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def start(*, ready: bool = True, **env: str) -> Service:
        defaults = {"DATABASE_URL": servers.postgres.url, "REDIS_URL": servers.redis.url}
        made.append(Service(folder / f"service-{len(made)}.log", {**defaults, **env}))
        if ready:
            made[-1].wait_ready()
        return made[-1]

    try:
        yield start
    finally:
        for service in made:
            service.kill()


@pytest.fixture
def serve(servers: Stack, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start `python -m app` as often as wanted; all end with the test."""
    with _starter(servers, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def serve_all(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """The same, for all tests of a file."""
    with _starter(servers, tmp_path_factory.mktemp("services")) as start:
        yield start


def close(app: Flask) -> None:
    """Let go of all that the application holds open."""
    services_of(app).close()
