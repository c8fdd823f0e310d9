"""The service that browsers visit: a real one, on tables of its own that each test finds empty."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from flask import Flask

from app import create_app
from embedded import Stack
from embedded.ports import HOST, free_port
from tests.support.api_client import ApiClient
from tests.support.empty_tables import empty_tables
from tests.support.secured_app import SecuredApp
from tests.support.service_process import Service

_DATABASE, _REDIS_NUMBER = "browser", 1


class Site:
    """A running service, and beside it the same application in this process, on the same servers.

    Through `app` a test prepares in milliseconds what a browser then finds.
    """

    def __init__(self, start: Callable[[], Service], app: Flask, database_url: str, redis_url: str) -> None:
        self._start, self.service, self.app = start, start(), app
        self.url = f"http://{HOST}:{self.service.port}"
        self.database_url, self._redis_url = database_url, redis_url

    def opened(self) -> ApiClient:
        """Empty everything: nobody has to sign in. A service that was closed stays closed until its next start."""
        client = self._emptied()
        self.service.kill()
        self.service = self._start()
        return client

    def closed(self, **admin: str) -> SecuredApp:
        """Empty everything but for an administrator, who has closed it."""
        self._emptied()
        made = SecuredApp(self.app, **admin)
        # The first request that needs somebody finds the administrator.
        assert self.service.get("/api/users").status == 401
        return made

    def _emptied(self) -> ApiClient:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            empty_tables(connection)
        with redis.Redis.from_url(self._redis_url) as client:
            client.flushdb()
        self.app.extensions["fullstack"].state.is_secured = False
        return ApiClient(self.app)


@contextmanager
def site(servers: Stack, folder: Path) -> Iterator[Site]:
    """Run a service with a database and a Redis number that nobody else uses; its log and state are in `folder`."""
    database_url = urlsplit(servers.postgres.url)._replace(path=f"/{_DATABASE}").geturl()
    redis_url = urlsplit(servers.redis.url)._replace(path=f"/{_REDIS_NUMBER}").geturl()
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_DATABASE}")
    # A busy machine is no fault of Redis: nothing here is about its loss.
    settings = {
        "database_url": database_url,
        "redis_url": redis_url,
        "redis_timeout_ms": "1000",
        "log_level": "warning",
    }
    env = {name.upper(): value for name, value in settings.items()} | {"PORT": str(free_port())}

    def start() -> Service:
        service = Service(folder / "service.log", env)
        service.wait_ready()
        return service

    app = create_app(**settings)
    place = Site(start, app, database_url, redis_url)
    try:
        yield place
    finally:
        place.service.kill()
        app.extensions["fullstack"].close()
