"""Redis is killed, hangs, is slow, emptied or restarted: every response is right and in time."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask

from embedded import Redis
from tests.support.api_client import ApiClient
from tests.support.pollers import polling
from tests.support.redis_outages import OUTAGES, break_redis, repair
from tests.support.service_process import Service
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import BOUND_S, wait_until


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that tests break. It keeps its data when it is killed."""
    settings = {"appendonly": "yes", "appendfsync": "always"}
    with Redis(tmp_path / "redis", settings=settings) as server:
        yield server


@pytest.fixture
def proxy(own_redis: Redis) -> Iterator[Proxy]:
    with Proxy(own_redis.port) as between:
        yield between


@pytest.fixture
def clients(
    make_app: Callable[..., Flask],
    own_redis: Redis,
    proxy: Proxy,
    empty: Callable[[], None],  # noqa: ARG001
) -> Iterator[list[ApiClient]]:
    """Clients of two applications with change pollers, so they use Redis."""
    url = own_redis.url.replace(str(own_redis.port), str(proxy.port))
    app = make_app(redis_url=url, redis_timeout_ms=40, log_level="error")
    with polling(app):
        made = [ApiClient(app) for _ in range(2)]
        for client in made:
            client.list_users(q="nobody")
        yield made


@pytest.mark.parametrize("kind", [*OUTAGES, "slow", "very slow"])
def test_every_response_is_correct_and_in_time_during_a_redis_fault(
    own_redis: Redis, proxy: Proxy, clients: list[ApiClient], kind: str
) -> None:
    user = clients[0].create_user()
    path, slowest, version = f"/users/{user['id']}", 0.0, 1
    clients[1].get(path)
    break_redis(kind, own_redis, proxy)
    for number, client in zip(range(40), itertools.cycle(clients), strict=False):
        began = time.monotonic()
        if number % 4 == 0:
            version = client.patch(path, {"name": f"name {number}"}).json["version"]
        elif number % 4 == 3:
            assert [shown["version"] for shown in client.list_users(q="name")] == [version]
        else:
            assert client.get(path).json["version"] == version
        slowest = max(slowest, time.monotonic() - began)
    print(f"{kind}: slowest answer {1000 * slowest:.0f} ms")  # noqa: T201 - shown by -rP
    assert version == 11
    assert slowest < BOUND_S
    repair(kind, own_redis, proxy)
    for client in clients:
        assert client.get(path).json["version"] == version
    wait_until(lambda: all(client.get("/health").json["status"] == "ok" for client in clients))
    for client in clients:
        assert client.get(path).json["version"] == version
        assert client.list_users(q="name")[0]["version"] == version


@pytest.mark.parametrize("kind", OUTAGES)
def test_health_says_degraded_in_time_and_ok_when_it_is_back(
    own_redis: Redis, proxy: Proxy, clients: list[ApiClient], kind: str
) -> None:
    break_redis(kind, own_redis, proxy)
    for _ in range(3):
        began = time.monotonic()
        response = clients[0].get("/health")
        assert time.monotonic() - began < 3
        assert response.status_code == 200
        assert response.json["status"] == "degraded"
        assert response.json["checks"]["database"]["status"] == "ok"
        assert response.json["checks"]["cache"]["status"] == "down"
        assert clients[0].get("/health/ready").status_code == 200
    repair(kind, own_redis, proxy)
    wait_until(lambda: clients[0].get("/health").json["status"] == "ok")


@pytest.mark.parametrize("kind", ["mute", "hangs up"])
def test_requests_do_not_retry_an_unavailable_redis(
    proxy: Proxy, own_redis: Redis, clients: list[ApiClient], kind: str
) -> None:
    user = clients[0].create_user()
    break_redis(kind, own_redis, proxy)
    before, began, requests = proxy.connections, time.monotonic(), 0
    while time.monotonic() - began < 2:
        clients[0].get(f"/users/{user['id']}")
        requests += 1
    assert requests > 100, "requests waited for Redis"
    assert proxy.connections - before <= 12


def test_emptied_redis_is_filled_again(own_redis: Redis, clients: list[ApiClient]) -> None:
    user = clients[0].create_user()
    with redis.Redis.from_url(own_redis.url) as redis_client:
        for number in range(10):
            for client in clients:
                client.get(f"/users/{user['id']}")
            redis_client.flushall()
            clients[number % 2].patch(f"/users/{user['id']}", {"name": f"n{number}"})
            for client in clients:
                assert client.get(f"/users/{user['id']}").json["name"] == f"n{number}"
                assert client.list_users()[0]["name"] == f"n{number}"


@pytest.mark.parametrize("kind", ["hung", "killed", "hangs up"])
def test_no_stale_response_is_served_when_redis_returns_with_old_data(
    own_redis: Redis, proxy: Proxy, clients: list[ApiClient], kind: str
) -> None:
    """One process writes during the outage, another reads as soon as Redis is back."""
    writer, reader = clients
    user = writer.create_user()
    path = f"/users/{user['id']}"
    for number in range(5 if kind == "killed" else 20):
        wait_until(lambda: all(client.get("/health").json["status"] == "ok" for client in clients))
        for client in clients:
            client.get(path)
            client.list_users()
        break_redis(kind, own_redis, proxy)
        writer.patch(path, {"name": f"n{number}"})
        repair(kind, own_redis, proxy)
        for client in (reader, writer):
            assert client.get(path).json["name"] == f"n{number}"
            assert client.list_users()[0]["name"] == f"n{number}"


def test_no_stale_response_is_served_when_redis_restarts_with_older_data(
    make_app: Callable[..., Flask],
    tmp_path: Path,
    empty: Callable[[], None],  # noqa: ARG001
) -> None:
    """Redis lost the last write and restarted between two requests, so no request failed."""
    with Redis(tmp_path / "snapshots") as server:
        client = ApiClient(make_app(redis_url=server.url, log_level="error"))
        path = f"/users/{client.create_user(name='old')['id']}"
        for number in range(3):
            before = client.list_users(active="true")[0]["name"]
            assert client.list_users(active="true")[0]["name"] == before
            with redis.Redis.from_url(server.url) as redis_client:
                redis_client.save()
            client.patch(path, {"name": f"n{number}"})
            server.kill()
            server.start()
            assert client.list_users(active="true")[0]["name"] == f"n{number}"
            wait_until(lambda: client.get("/health").json["status"] == "ok")
            assert client.list_users(active="true")[0]["name"] == f"n{number}"


def test_reads_and_writes_stay_correct_while_redis_restarts_repeatedly(
    own_redis: Redis, proxy: Proxy, clients: list[ApiClient]
) -> None:
    user_id = clients[0].create_user()["id"]
    answered, stop, faults = [1], threading.Event(), []

    def read(client: ApiClient) -> None:
        while not stop.is_set():
            least = answered[0]
            seen = (client.get(f"/users/{user_id}").json["version"], client.list_users()[0]["version"])
            if min(seen) < least:
                faults.append((seen, least))

    def write() -> None:
        while not stop.is_set():
            answered[0] = clients[0].patch(f"/users/{user_id}", {"attributes": {"n": answered[0]}}).json["version"]
            time.sleep(0.005)

    threads = [threading.Thread(target=read, args=(client,)) for client in clients] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for kind in ["hung", "hangs up", "slow", "killed", "mute", "hung"]:
        break_redis(kind, own_redis, proxy)
        time.sleep(0.25)
        repair(kind, own_redis, proxy)
        time.sleep(0.35)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert answered[0] > 20


def test_a_service_starts_and_serves_without_redis(serve: Callable[..., Service], own_redis: Redis) -> None:
    own_redis.kill()
    service = serve(REDIS_URL=own_redis.url, WORKERS="2")
    made = service.post("/api/users", {"username": "without-redis"})
    try:
        assert made.status == 201
        assert service.get(f"/api/users/{made.json['id']}").json == made.json
        assert service.get("/api/health").json["status"] == "degraded"
        own_redis.start()
        service.wait_for(lambda: service.get("/api/health").json["status"] == "ok")
    finally:
        service("DELETE", f"/api/users/{made.json['id']}?purge=true")


def test_two_workers_serve_no_stale_response_during_a_redis_outage(
    serve: Callable[..., Service],
    own_redis: Redis,
    empty: Callable[[], None],  # noqa: ARG001
) -> None:
    service = serve(REDIS_URL=own_redis.url, WORKERS="2")
    user: dict[str, Any] = service.post("/api/users", {"username": "ada"}).json
    path, slowest = f"/api/users/{user['id']}", 0.0
    for number in range(10):
        for _ in range(6):
            service.get(path)
        own_redis.pause()
        slowest = max(slowest, service("PATCH", path, {"name": f"n{number}"}).seconds)
        own_redis.resume()
        responses = [service.get(path) for _ in range(6)]
        assert {response.json["name"] for response in responses} == {f"n{number}"}
        slowest = max([slowest, *(response.seconds for response in responses)])
        time.sleep(0.1)
    assert slowest < BOUND_S


def test_with_a_wrong_redis_password_requests_succeed_without_the_cache(
    make_app: Callable[..., Flask], own_redis: Redis
) -> None:
    client = ApiClient(make_app(redis_url=f"redis://:wrong@127.0.0.1:{own_redis.port}/0", log_level="error"))
    assert client.get("/users").status_code == 200
    assert client.get("/health").json["status"] == "degraded"


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1/0", "redis://nowhere.invalid:6379/0", "unix:///nowhere/redis.sock"]
)
def test_with_an_unreachable_redis_requests_succeed_without_the_cache(make_app: Callable[..., Flask], url: str) -> None:
    client = ApiClient(make_app(redis_url=url, log_level="error"))
    began = time.monotonic()
    assert client.get("/users").status_code == 200
    assert time.monotonic() - began < 3
    assert client.get("/health").json["status"] == "degraded"


def test_the_doctor_waits_longer_for_redis_than_a_request_does(clients: list[ApiClient], proxy: Proxy) -> None:
    """On a busy machine the first connection is slow, which is not a finding."""
    cli = clients[0].app.test_cli_runner()
    proxy.delay_s = 0.1
    doctor = cli.invoke(args=["doctor"])
    assert "cache       ok" in doctor.output, doctor.output
    proxy.mute = True
    proxy.cut()
    doctor = cli.invoke(args=["doctor"])
    assert "cache       failed" in doctor.output, doctor.output
    assert doctor.exit_code == 1
