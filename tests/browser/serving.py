"""The service that browsers visit: a real one, on tables of its own that each test finds empty."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from flask import Flask

from app import create_app
from embedded import Stack
from embedded.ports import HOST
from tests.support.api_client import ApiClient
from tests.support.empty_tables import empty_tables
from tests.support.secured_app import SecuredApp
from tests.support.service_process import Service

_DATABASE, _REDIS_NUMBER = "browser", 1


class Site:
    """A running service, and beside it the same application in this process, on the same servers and state.

    Through `app` a test prepares in milliseconds what a browser then finds.
    """

    def __init__(self, service: Service, app: Flask, database_url: str, redis_url: str) -> None:
        self.service, self.app = service, app
        self.url = f"http://{HOST}:{service.port}"
        self.database_url, self._redis_url = database_url, redis_url

    def opened(self) -> ApiClient:
        """Empty everything: nobody has to sign in."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            empty_tables(connection)
        with redis.Redis.from_url(self._redis_url) as client:
            client.flushdb()
        # The latch is in memory that the processes share: this opens the running service as well.
        self.app.extensions["fullstack"].state.closed = False
        return ApiClient(self.app)

    def closed(self, **admin: str) -> SecuredApp:
        """Empty everything but for an administrator, who has closed it."""
        self.opened()
        return SecuredApp(self.app, **admin)


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
    service = Service(folder / "service.log", {name.upper(): value for name, value in settings.items()})
    try:
        service.wait_ready()
        app = create_app(**settings, state_file=str(service.log.with_suffix(".state")))
        yield Site(service, app, database_url, redis_url)
        app.extensions["fullstack"].close()
    finally:
        service.kill()
