"""After PostgreSQL or Redis dropped idle connections, the next request succeeds."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.config import load_settings
from app.db.migrate import prepare
from embedded import FAST, Postgres, Redis
from tests.support.empty_tables import empty_tables
from tests.support.secured_app import PASSWORD, SecuredApp
from tests.support.service_process import Service
from tests.support.tcp_proxy import Proxy

DROPS = ["restarted", "killed", "idle connections ended"]


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL that tests restart."""
    with Postgres(tmp_path_factory.mktemp("restarted") / "postgres", settings=FAST) as server:
        prepare(load_settings({}, database_url=server.url))
        yield server


@pytest.fixture
def postgres(own_postgres: Postgres) -> Postgres:
    own_postgres.start()
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        empty_tables(connection)
    return own_postgres


@pytest.fixture
def secured_app(make_app: Callable[..., Flask], postgres: Postgres) -> SecuredApp:
    return SecuredApp(make_app(database_url=postgres.url, cache_ttl_s=0, log_level="error"))


def drop(kind: str, postgres: Postgres) -> None:
    """Drop all connections to PostgreSQL, which accepts new ones afterwards."""
    if kind == "restarted":
        postgres.restart()
    elif kind == "killed":
        postgres.kill()
        postgres.start()
    else:
        others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"{others} AND backend_type = 'client backend'")


def many_at_once(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """What `ask` gives to so many threads that begin at the same moment."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Any:
        barrier.wait()
        return ask(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("kind", DROPS)
@pytest.mark.parametrize("path", ["/health/ready", "/health"])
def test_the_first_health_check_reconnects_to_postgres(
    secured_app: SecuredApp, postgres: Postgres, kind: str, path: str
) -> None:
    for _ in range(3):
        assert secured_app.anonymous.get(path).status_code == 200
        drop(kind, postgres)
        response = secured_app.anonymous.get(path)
        assert response.status_code == 200, response.text


def test_a_health_check_replaces_a_connection_that_no_longer_responds(
    make_app: Callable[..., Flask], postgres: Postgres
) -> None:
    """As with a firewall that dropped its state: the old connection gets no response, and a new connection works."""
    with Proxy(postgres.port) as proxy, Proxy(postgres.port) as other:
        url = postgres.url.replace(f":{postgres.port}/", f":{proxy.port}/")
        app = make_app(database_url=f"{url}?hostaddr=127.0.0.1", cache_ttl_s=0, log_level="error")
        secured_app = SecuredApp(app)
        assert secured_app.anonymous.get("/health/ready").status_code == 200
        # Only connections of before are mute: who connects now gets another proxy.
        proxy.mute = True
        proxy.divert(other)
        assert secured_app.anonymous.get("/health/ready").status_code == 200


@pytest.mark.parametrize("kind", DROPS)
def test_the_first_reads_and_writes_after_a_restart_succeed(
    secured_app: SecuredApp, postgres: Postgres, kind: str
) -> None:
    user = secured_app.create_user("editor", password=PASSWORD)
    program = secured_app.token_client(user)
    calls: list[Callable[[int], int]] = [
        lambda _: program.get(f"/users/{user['id']}").status_code,
        lambda _: program.get("/users?q=e").status_code,
        lambda _: program.get(f"/users/{user['id']}/history").status_code,
        lambda n: program.post("/users", {"username": f"{kind[:1]}{n}-{time.monotonic_ns()}"}).status_code,
        lambda n: program.patch(f"/users/{made[n]['id']}", {"name": f"{time.monotonic_ns()}"}).status_code,
        lambda n: program.put(f"/users/{made[n]['id']}", {"username": f"put-{n}"}).status_code,
    ]
    made = [program.create_user() for _ in range(8)]
    for call in calls:
        assert set(many_at_once(8, call)) <= {200, 201}
        drop(kind, postgres)
        assert set(many_at_once(8, call)) <= {200, 201}


@pytest.mark.parametrize("kind", DROPS)
def test_a_service_of_two_workers_is_ready_and_serves_as_soon_as_postgres_does(
    serve: Callable[..., Service], postgres: Postgres, kind: str
) -> None:
    service = serve(DATABASE_URL=postgres.url, WORKERS="2", CACHE_TTL_S="0")
    user = service.post("/api/users", {"username": "ada"}).json
    for _ in range(3):
        # Enough to be answered by each of the workers, which have connections then.
        assert {service.get("/api/health/ready").status for _ in range(12)} == {200}
        assert {service.get(f"/api/users/{user['id']}").status for _ in range(12)} == {200}
        drop(kind, postgres)
        found = [service.get("/api/health/ready").status for _ in range(12)]
        found += [service.get(f"/api/users/{user['id']}").status for _ in range(12)]
        found += [service("PATCH", f"/api/users/{user['id']}", {"name": f"{n}"}).status for n in range(6)]
        assert set(found) == {200}


def test_requests_refused_during_an_outage_succeed_once_the_service_is_ready(
    secured_app: SecuredApp, postgres: Postgres
) -> None:
    """Clients send requests once it is ready, so the circuit breaker does not wait for its next probe."""
    user = secured_app.create_user()
    program = secured_app.token_client(secured_app.admin.user)
    assert secured_app.anonymous.get("/health/ready").status_code == 200
    postgres.stop()
    assert program.get(f"/users/{user['id']}").status_code == 503
    # The pauses between probes grow to a second.
    time.sleep(3)
    assert secured_app.anonymous.get("/health/ready").status_code == 503
    postgres.start()
    assert secured_app.anonymous.get("/health/ready").status_code == 200
    assert program.get(f"/users/{user['id']}").status_code == 200


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that tests restart. It keeps its data."""
    with Redis(tmp_path / "redis", settings={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


def test_the_first_requests_after_a_restart_of_redis_are_answered(
    make_app: Callable[..., Flask], postgres: Postgres, own_redis: Redis
) -> None:
    secured_app = SecuredApp(make_app(database_url=postgres.url, redis_url=own_redis.url, log_level="error"))
    user = secured_app.create_user("editor", password=PASSWORD)
    browser = secured_app.session_client(user)
    for _ in range(3):
        assert set(many_at_once(4, lambda _: browser.get("/me/sessions").status_code)) == {200}
        assert secured_app.anonymous.get("/health").json["status"] == "ok"
        own_redis.restart()
        assert secured_app.anonymous.get("/health").json["status"] == "ok"
        assert set(many_at_once(4, lambda _: browser.get("/me/sessions").status_code)) == {200}
        assert secured_app.sign_in({"username": user["username"], "password": PASSWORD}).status_code == 201
