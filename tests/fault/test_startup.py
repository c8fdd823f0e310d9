"""Start of `python -m app`: waiting, migrations, and refusals."""

# ruff: noqa: S104 - such an address is refused

import contextlib
import signal
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from embedded import Stack
from embedded.ports import free_port
from tests.support.service_process import Service
from tests.support.tcp_proxy import Proxy


def ask(url: str, statement: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_without_a_database_the_start_waits_and_then_fails_with_the_cause(serve: Callable[..., Service]) -> None:
    url = f"postgresql://ada:hunter2@127.0.0.1:{free_port()}/usersdb"
    service = serve(ready=False, DATABASE_URL=url, DATABASE_WAIT_S="2")
    service.wait_for(lambda: service.get("/api/health/live").status == 200)
    assert service.get("/api/health/ready").status == 503
    assert service.get("/api/health").status == 503
    assert service.get("/api/users").status == 503
    assert service.process.wait(15) == 1
    waiting = [event for event in service.events if event["event"] == "waiting_for_database"]
    assert waiting
    assert "refused" in waiting[0]["cause"]
    (refused,) = [event for event in service.events if event["event"] == "start_refused"]
    for word in ("did not answer within 2 s", "refused", "DATABASE_URL", "127.0.0.1"):
        assert word in refused["cause"]
    assert "hunter2" not in service.text
    assert "Traceback" not in service.text


def test_the_start_waits_for_a_database_that_becomes_available_later(
    servers: Stack, new_database: str, serve: Callable[..., Service]
) -> None:
    with Proxy(servers.postgres.port) as proxy:
        proxy.refuse = True
        url = new_database.replace(f":{servers.postgres.port}/", f":{proxy.port}/")
        service = serve(ready=False, DATABASE_URL=url, DATABASE_WAIT_S="20")
        service.wait_for(lambda: "waiting_for_database" in service.text)
        service.wait_for(lambda: service.get("/api/health/live").status == 200)
        response = service.get("/api/users")
        assert response.status == 503
        assert response.headers["Retry-After"]
        proxy.refuse = False
        service.wait_ready()
        service.wait_for(lambda: service.post("/api/users", {"username": "ada"}).status == 201)
        service.kill()


def test_an_empty_database_is_migrated_before_the_first_request(
    new_database: str, serve: Callable[..., Service]
) -> None:
    service = serve(DATABASE_URL=new_database)
    assert service.get("/api/users").json == []
    assert [event["event"] for event in service.events if "migrat" in event["event"]] == ["migrating", "migrated"]
    service.end()
    again = serve(DATABASE_URL=new_database)
    assert "migrat" not in again.text


def test_the_start_warns_of_more_connections_than_postgresql_accepts(
    new_database: str, serve: Callable[..., Service]
) -> None:
    given = {"DATABASE_URL": new_database, "WORKERS": "2", "DATABASE_POOL_SIZE": "10"}
    enough = serve(**given, REPLICAS="3")
    assert "too_many_connections" not in enough.text
    enough.end()
    service = serve(**given, REPLICAS="4")
    (warning,) = [event for event in service.events if event["event"] == "too_many_connections"]
    assert warning["level"] == "warning"
    assert (warning["needed"], warning["available"], warning["replicas"]) == (120, 97, 4)
    assert warning["advice"] == "set DATABASE_POOL_SIZE to 7 or less, or set max_connections to 123 or more"


def test_several_launchers_at_once_migrate_once(new_database: str, serve: Callable[..., Service]) -> None:
    services = [serve(ready=False, DATABASE_URL=new_database, WORKERS="1") for _ in range(4)]
    for service in services:
        service.wait_ready()
    for service in services:
        assert service.get("/api/users").json == []
        assert [event for event in service.events if event["level"] == "error"] == []
    assert len(ask(new_database, "SELECT * FROM alembic_version")) == 1


def test_a_database_of_a_newer_release_is_refused_and_left_alone(
    new_database: str, serve: Callable[..., Service]
) -> None:
    serve(DATABASE_URL=new_database).end()
    with psycopg.connect(new_database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999', compatible_from = '9998'")
    service = serve(ready=False, DATABASE_URL=new_database)
    assert service.process.wait(6) == 1
    (refused,) = [event for event in service.events if event["event"] == "start_refused"]
    assert "9999" in refused["cause"]
    assert "newer release" in refused["cause"]
    assert "Traceback" not in service.text
    assert ask(new_database, "SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THREADS", "web"),
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("CACHE_TTL_S", "-1"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_its_name(serve: Callable[..., Service], name: str, value: str) -> None:
    service = serve(ready=False, **{name: value})
    assert service.process.wait(15) == 2
    assert name in service.text
    assert "hunter2" not in service.text
    assert "Traceback" not in service.text


def test_a_database_role_that_may_not_create_tables_is_reported(
    new_database: str, serve: Callable[..., Service]
) -> None:
    with psycopg.connect(new_database, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'hunter2'")
        try:
            url = urlsplit(new_database)
            guest = url._replace(netloc=f"guest:hunter2@{url.hostname}:{url.port}").geturl()
            service = serve(ready=False, DATABASE_URL=guest)
            assert service.process.wait(20) == 1
        finally:
            connection.execute("DROP ROLE guest")
    (refused,) = [event for event in service.events if event["event"] == "start_refused"]
    assert "permission denied" in refused["cause"]
    assert "Traceback" not in service.text
    assert "hunter2" not in service.text


@pytest.mark.parametrize("name", ["LISTEN_ADDRESS", "PUBLISHED_ADDRESS"])
def test_a_public_service_without_an_administrator_refuses_to_start(
    new_database: str, serve: Callable[..., Service], name: str
) -> None:
    service = serve(ready=False, DATABASE_URL=new_database, **{name: "0.0.0.0"})
    assert service.process.wait(20) == 1
    (refused,) = [event for event in service.events if event["event"] == "start_refused"]
    for word in ("ADMIN_EMAIL", "ADMIN_PASSWORD", "PUBLISHED_ADDRESS=127.0.0.1", f"{name}=0.0.0.0"):
        assert word in refused["cause"]


def test_with_an_administrator_from_settings_it_starts_secured(
    new_database: str, serve: Callable[..., Service]
) -> None:
    admin = {"ADMIN_EMAIL": "ada@example.org", "ADMIN_PASSWORD": "correct horse battery"}
    service = serve(DATABASE_URL=new_database, PUBLISHED_ADDRESS="0.0.0.0", **admin)
    assert service.get("/api/users").status == 401
    signed_in = service.post("/api/session", {"email": "ada@example.org", "password": "correct horse battery"})
    assert signed_in.status == 201
    assert signed_in.json["role"] == "admin"
    assert "correct horse" not in service.text


@pytest.mark.parametrize(("name", "value"), [("ADMIN_PASSWORD", "short"), ("ADMIN_EMAIL", "nobody")])
def test_a_wrong_first_administrator_ends_the_start_with_the_setting(
    new_database: str, serve: Callable[..., Service], name: str, value: str
) -> None:
    admin = {"ADMIN_EMAIL": "ada@example.org", "ADMIN_PASSWORD": "correct horse battery", name: value}
    service = serve(ready=False, DATABASE_URL=new_database, **admin)
    assert service.process.wait(20) == 1
    (refused,) = [event for event in service.events if event["event"] == "start_refused"]
    assert name in refused["cause"]
    assert "short" not in refused["cause"]


def test_a_second_service_on_the_port_fails_and_the_first_continues(serve: Callable[..., Service]) -> None:
    first = serve(DRAIN_DELAY_S="1")
    second = serve(ready=False, PORT=str(first.port))
    while second.process.poll() is None:
        assert first.get("/api/users").status == 200
        assert first.get("/api/health/ready").status == 200
    assert second.process.wait() == 1
    (refused,) = [event for event in second.events if event["event"] == "start_refused"]
    assert str(first.port) in refused["cause"]
    assert "in use" in refused["cause"]
    assert "Traceback" not in second.text
    first.process.send_signal(signal.SIGTERM)
    first.wait_for(lambda: first.get("/api/health/ready").status == 503, seconds=0.8)
    assert first.process.wait(10) == 0


def test_a_killed_worker_is_replaced(serve: Callable[..., Service]) -> None:
    service = serve(WORKERS="2")
    workers = [child for child in psutil.Process(service.process.pid).children() if child.is_running()]
    assert len(workers) >= 2
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    time.sleep(0.3)
    service.wait_for(lambda: service.get("/api/users").status == 200)
    assert service.end() == 0
