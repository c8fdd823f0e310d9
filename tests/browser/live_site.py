"""A running service for browser tests, with its own database, which each test empties."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from flask import Flask

from app import create_app
from app.http.services import services_of
from embedded import Stack
from embedded.ports import HOST, free_port
from tests.support.api_client import ApiClient
from tests.support.empty_tables import empty_tables
from tests.support.secured_app import SecuredApp
from tests.support.service_process import Service

_DATABASE, _REDIS_NUMBER = "browser", 1


class Site:
    """A running service, and the same application in this process, with the same PostgreSQL and Redis.

    Tests prepare data through `app`, which takes milliseconds.
    """

    def __init__(self, start: Callable[[], Service], app: Flask, database_url: str, redis_url: str) -> None:
        self._start, self.service, self.app = start, start(), app
        self.url = f"http://{HOST}:{self.service.port}"
        self.database_url, self._redis_url = database_url, redis_url

    def reset(self) -> ApiClient:
        """Empty the tables and restart the service in setup mode. A running service never returns to setup mode."""
        client = self._empty()
        self.service.kill()
        self.service = self._start()
        return client

    def reset_secured(self, **admin: str) -> SecuredApp:
        """Empty the tables and create an administrator."""
        self._empty()
        secured = SecuredApp(self.app, **admin)
        # The first request that requires sign-in detects the administrator.
        assert self.service.get("/api/users").status == 401
        return secured

    def _empty(self) -> ApiClient:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            empty_tables(connection)
        with redis.Redis.from_url(self._redis_url) as client:
            client.flushdb()
        services_of(self.app).state.is_secured = False
        return ApiClient(self.app)


@contextmanager
def site(servers: Stack, folder: Path) -> Iterator[Site]:
    """Run a service with its own database and Redis number. `folder` receives its log."""
    database_url = urlsplit(servers.postgres.url)._replace(path=f"/{_DATABASE}").geturl()
    redis_url = urlsplit(servers.redis.url)._replace(path=f"/{_REDIS_NUMBER}").geturl()
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_DATABASE}")
    # These tests do not test a slow Redis, and the machine may be busy.
    settings = {
        "database_url": database_url,
        "redis_url": redis_url,
        "redis_timeout_ms": "1000",
        "log_level": "warning",
        "trash_days": "3650",
    }
    env = {name.upper(): value for name, value in settings.items()} | {"PORT": str(free_port())}

    def start() -> Service:
        service = Service(folder / "service.log", env)
        service.wait_ready()
        return service

    app = create_app(**settings)
    running = Site(start, app, database_url, redis_url)
    try:
        yield running
    finally:
        running.service.kill()
        services_of(app).close()
