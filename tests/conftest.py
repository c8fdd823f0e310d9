"""Fixtures of all tests: a private PostgreSQL and Redis, and applications that use them."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from psycopg import sql

from app import create_app
from app.auth import login
from app.config import load_settings
from app.db.migrate import prepare
from app.http.services import services_of
from embedded import Stack, stack
from tests.support import skipped
from tests.support.api_client import ApiClient
from tests.support.asgi import use_adapter
from tests.support.empty_tables import Cleaner
from tests.support.engines import engine_of
from tests.support.leases import grant_lease
from tests.support.secured_app import SecuredApp
from tests.support.service_process import ROOT, Service

BEGAN_S = pytest.StashKey[float]()
POSTGRES = int(os.environ.get("TEST_POSTGRES", "18"))


def pytest_configure(config: pytest.Config) -> None:
    """Remember when the run began."""
    config.stash[BEGAN_S] = time.monotonic()


def pytest_xdist_auto_num_workers() -> int:
    """Run two workers per core: most tests wait for something."""
    return 2 * (os.cpu_count() or 1)


def pytest_report_header() -> list[str]:
    """Print the skipped tests before the first test."""
    return [f"left out: {reason}" for reason in skipped.reasons()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the skipped tests, the number of passed tests and the minutes after the last test."""
    minutes = (time.monotonic() - config.stash[BEGAN_S]) / 60
    terminalreporter.write_line(
        f"{len(terminalreporter.stats.get('passed', []))} tests passed in {minutes:.1f} minutes"
    )
    for line in pytest_report_header():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL (version TEST_POSTGRES) and Redis, for tests that do not break them."""
    with stack(tmp_path_factory.mktemp("servers"), POSTGRES) as both:
        prepare(load_settings({}, database_url=both.postgres.url, redis_url=both.redis.url))
        yield both


@pytest.fixture(scope="session")
def make_app(servers: Stack) -> Iterator[Callable[..., Flask]]:
    """Create applications on these servers, or on the servers of `overrides`."""
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
        use_adapter(made[-1])
        # So tests fail if the database role lacks a right.
        services_of(made[-1]).state.is_role_available = True
        return made[-1]

    yield make
    for app in made:
        close(app)


@pytest.fixture(scope="session")
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application that most tests use. Its caches are on."""
    made = make_app()
    grant_lease(made)
    return made


@pytest.fixture(scope="session")
def cleaner(servers: Stack) -> Iterator[Cleaner]:
    """Empties the tables and Redis between tests. To connect each time would take longer than most tests."""
    made = Cleaner(servers)
    yield made
    made.close()


@pytest.fixture
def empty(cleaner: Cleaner, app: Flask) -> Iterator[Callable[[], None]]:
    """Empty tables, Redis and caches, and return to setup mode; now, and at each call."""
    services = services_of(app)

    def clear() -> None:
        cleaner.empty()
        services.generations.invalidate()
        services.state.is_secured = False

    clear()
    yield clear
    cleaner.delete_administrators()


@pytest.fixture
def api(app: Flask, empty: Callable[[], None]) -> ApiClient:  # noqa: ARG001 - it is called for its effect
    """A client of the API, in setup mode, on empty tables."""
    return ApiClient(app)


@pytest.fixture
def secured_app(app: Flask, empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - it is called for its effect
    """The application with an administrator."""
    return SecuredApp(app)


@pytest.fixture(params=["/api", ""], ids=["api", "root"])
def api_or_root(request: pytest.FixtureRequest, app: Flask, api: ApiClient) -> ApiClient:
    """A client of the API below /api, and one of the same API at the root."""
    return api if request.param == "/api" else ApiClient(app, "")


@pytest.fixture
def without_refusal_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse sign-ins without delay."""
    monkeypatch.setattr(login, "REFUSAL_S", 0)


@pytest.fixture
def database(servers: Stack) -> Iterator[psycopg.Connection[Any]]:
    """A connection that the application does not use."""
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_database(servers: Stack) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"new_{uuid.uuid4().hex}"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield servers.postgres.url.replace("/usersdb", f"/{name}")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def _without_administrators(cleaner: Cleaner) -> Iterator[None]:
    """Delete the administrators that services of this file have created."""
    yield
    cleaner.delete_administrators()


@contextmanager
def _starter(servers: Stack, folder: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def start(*, ready: bool = True, root: Path = ROOT, **env: str) -> Service:
        defaults = {"DATABASE_URL": servers.postgres.url, "REDIS_URL": servers.redis.url}
        made.append(Service(folder / f"service-{len(made)}.log", {**defaults, **env}, root=root))
        if ready:
            made[-1].wait_ready()
        return made[-1]

    try:
        yield start
    finally:
        for service in made:
            service.kill()


@pytest.fixture
def serve(
    servers: Stack,
    tmp_path: Path,
    _without_administrators: None,  # it is used for its effect
) -> Iterator[Callable[..., Service]]:
    """Start services (`python -m app`). They are killed after the test."""
    with _starter(servers, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def serve_all(
    servers: Stack,
    tmp_path_factory: pytest.TempPathFactory,
    _without_administrators: None,  # it is used for its effect
) -> Iterator[Callable[..., Service]]:
    """Start services for all tests of a file. They are killed after its last test."""
    with _starter(servers, tmp_path_factory.mktemp("services")) as start:
        yield start


def close(app: Flask) -> None:
    """Close all connections and threads of the application."""
    services_of(app).close()
