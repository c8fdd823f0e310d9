"""Metrics while processes are killed, and while PostgreSQL or Redis hang."""

import contextlib
import http.client
import secrets
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from embedded import Stack
from tests.support.scraping import Scrape, metrics_port, scrape, wait_for_metrics
from tests.support.service_process import Service
from tests.support.tcp_proxy import Proxy

# Setup mode, whatever ran before.
pytestmark = pytest.mark.usefixtures("empty")


def workers(service: Service) -> list[psutil.Process]:
    """The processes that listen on the port of the service."""
    return [child for child in psutil.Process(service.process.pid).children() if listens(child, service.port)]


def listens(process: psutil.Process, port: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(one.laddr.port == port for one in process.net_connections("tcp") if one.status == "LISTEN")
    return False


def requests(found: Scrape) -> float:
    return found.count("http_requests_total", route="/api/health/live")


def test_a_killed_worker_loses_no_count_and_counts_nothing_twice(serve: Callable[..., Service]) -> None:
    port = metrics_port()
    service = serve(WORKERS="2", **port)
    wait_for_metrics(service, port["METRICS_PORT"])
    sent, earlier = 0, scrape(port["METRICS_PORT"])
    began = requests(earlier)
    for killed in range(1, 4):
        for _ in range(100):
            assert service.get("/api/health/live").status == 200
            sent += 1
        victim = workers(service)[0]
        victim.kill()
        service.wait_for(
            lambda killed=killed: (
                scrape(port["METRICS_PORT"]).total("process_restarts_total") == killed and len(workers(service)) == 2
            )
        )
        found = scrape(port["METRICS_PORT"])
        assert requests(found) - began == sent
        cpu = "process_cpu_seconds_total"
        assert found.total(cpu) >= earlier.total(cpu)
        earlier = found
    assert {one.labels["process"][:6] for one in earlier.find("process_restarts_total") if one.value} == {"worker"}


def test_counts_survive_a_restart_of_the_metrics_process(serve: Callable[..., Service]) -> None:
    port = metrics_port()
    service = serve(WORKERS="1", **port)
    before = wait_for_metrics(service, port["METRICS_PORT"])
    (server,) = [
        child for child in psutil.Process(service.process.pid).children() if listens(child, int(port["METRICS_PORT"]))
    ]
    server.kill()
    server.wait()
    found = wait_for_metrics(service, port["METRICS_PORT"])
    assert found.total("process_restarts_total", process="metrics") == 1
    assert requests(found) >= requests(before)
    assert found.total("process_cpu_seconds_total") >= before.total("process_cpu_seconds_total")
    assert service.end() == 0


def test_a_scrape_during_the_start_keeps_no_connection_of_the_owner(
    new_database: str, serve: Callable[..., Service]
) -> None:
    port, owner = metrics_port(), urlsplit(new_database).username
    # A lock holds the start up: it can't read the revision.
    serve(DATABASE_URL=new_database).end()
    with psycopg.connect(new_database) as locking:
        locking.execute("LOCK TABLE alembic_version")
        service = serve(ready=False, DATABASE_URL=new_database, WORKERS="1", **port)
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("dependency_up", service="database") == 1)
        found = scrape(port["METRICS_PORT"])
        assert found.find("migration_info") == []
        assert service.get("/api/health/ready").status == 503
    service.wait_ready()
    service.wait_for(lambda: scrape(port["METRICS_PORT"]).find("migration_info"))
    with psycopg.connect(new_database) as connection:
        roles = connection.execute(
            "SELECT usename FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert (owner,) not in roles
    assert roles


def test_gauges_of_a_killed_worker_disappear(serve: Callable[..., Service], servers: Stack) -> None:
    """Requests wait for a locked row when their worker is killed."""
    port = metrics_port()
    service = serve(WORKERS="1", **port)
    wait_for_metrics(service, port["METRICS_PORT"])
    user = service.post("/api/users", {"username": secrets.token_hex(8)}).json["id"]

    def change(number: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            service("PATCH", f"/api/users/{user}", {"name": str(number)})

    with psycopg.connect(servers.postgres.url) as locking, ThreadPoolExecutor(4) as pool:
        locking.execute("SELECT 1 FROM users WHERE id = %s FOR UPDATE", [user])
        waiting = [pool.submit(change, number) for number in range(4)]
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("http_requests_in_flight") == 4)
        assert scrape(port["METRICS_PORT"]).total("database_connections_in_use") >= 1
        workers(service)[0].kill()
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("process_restarts_total") == 1)
        service.wait_for(lambda: len(workers(service)) == 1)
        found = scrape(port["METRICS_PORT"])
        assert found.total("http_requests_in_flight") == 0
        assert found.total("database_connections_in_use") == 0
        for one in waiting:
            one.result()


@pytest.mark.parametrize("which", ["database", "cache"])
def test_a_server_that_hangs_delays_no_scrape(serve: Callable[..., Service], servers: Stack, which: str) -> None:
    port = metrics_port()
    with Proxy(servers.postgres.port) as postgres, Proxy(servers.redis.port) as redis:
        service = serve(
            WORKERS="1",
            DATABASE_URL=servers.postgres.url.replace(f":{servers.postgres.port}/", f":{postgres.port}/"),
            REDIS_URL=servers.redis.url.replace(str(servers.redis.port), str(redis.port)),
            **port,
        )
        up = wait_for_metrics(service, port["METRICS_PORT"])
        assert up.total("dependency_up") == 2
        (postgres if which == "database" else redis).mute = True
        for _ in range(4):
            began = time.monotonic()
            found = scrape(port["METRICS_PORT"])
            assert time.monotonic() - began < 2
            assert found.total("dependency_up", service=which) == 0
        left_out = "migration_info" if which == "database" else "sessions"
        assert found.find(left_out) == []
        assert found.find("sessions" if which == "database" else "migration_info")
        breaker = "database" if which == "database" else "sessions"
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("circuit_breaker_open", name=breaker) == 1)
        postgres.mute = redis.mute = False
        for proxy in (postgres, redis):
            proxy.cut()
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("dependency_up") == 2)
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).find(left_out))
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("circuit_breaker_open") == 0)


def test_an_outage_of_the_database_is_counted_and_its_breaker_is_open(
    serve: Callable[..., Service], servers: Stack
) -> None:
    port = metrics_port()
    with Proxy(servers.postgres.port) as proxy:
        url = servers.postgres.url.replace(f":{servers.postgres.port}/", f":{proxy.port}/")
        service = serve(WORKERS="2", DATABASE_URL=url, **port)
        wait_for_metrics(service, port["METRICS_PORT"])
        # A write wakes the poller.
        assert service.post("/api/users", {"username": secrets.token_hex(8)}).status == 201
        proxy.refuse = True
        proxy.cut()
        service.wait_for(lambda: service.get("/api/users").status == 503)
        before = scrape(port["METRICS_PORT"])
        assert before.total("circuit_breaker_open", name="database") == 1
        for _ in range(10):
            assert service.get("/api/users").status == 503
        found = scrape(port["METRICS_PORT"])
        failed = {"kind": "unavailable"}
        assert found.total("database_errors_total", **failed) >= before.total("database_errors_total", **failed) + 10
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("change_poller_lag_seconds") > 1)
        proxy.refuse = False
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("circuit_breaker_open") == 0)


def test_refused_requests_of_an_overloaded_worker_are_counted(serve: Callable[..., Service], servers: Stack) -> None:
    port = metrics_port()
    service = serve(WORKERS="1", **port)
    wait_for_metrics(service, port["METRICS_PORT"])
    user = service.post("/api/users", {"username": secrets.token_hex(8)}).json["id"]
    statuses: list[int] = []

    def change(number: int) -> None:
        statuses.append(service("PATCH", f"/api/users/{user}", {"name": str(number)}, timeout=30).status)

    with psycopg.connect(servers.postgres.url) as locking:
        locking.execute("SELECT 1 FROM users WHERE id = %s FOR UPDATE", [user])
        threads = [threading.Thread(target=change, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        service.wait_for(lambda: scrape(port["METRICS_PORT"]).total("http_requests_overloaded_total") > 0)
        locking.rollback()
        for thread in threads:
            thread.join()
    found = scrape(port["METRICS_PORT"])
    refused = found.total("http_requests_overloaded_total")
    assert found.total("http_requests_total", route="", status="503") == refused
    assert found.total("http_requests_in_flight") == 0
    assert found.total("http_requests_total", method="PATCH") == len(statuses) == 200


def test_a_stopped_service_ends_its_metrics_process(serve: Callable[..., Service]) -> None:
    port = metrics_port()
    service = serve(WORKERS="1", **port)
    wait_for_metrics(service, port["METRICS_PORT"])
    children = psutil.Process(service.process.pid).children()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(15) == 0
    assert not any(child.is_running() for child in children)
