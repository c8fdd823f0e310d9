"""Rows locked by SQL delay only the writers of these rows."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.secured_app import PASSWORD
from tests.support.service_process import Response, Service

WRITERS = 20
BOUND_S = 1.0
"""Far above what each of these takes alone, and below what a writer waits for a lock."""
REFUSED_WITHIN_S = 4.5
"""Of a writer: 1.5 s for its turn, 1.5 s for the lock, and a busy machine."""


@pytest.fixture
def service(serve: Callable[..., Service], empty: Callable[[], None]) -> Service:  # noqa: ARG001
    """A service in setup mode, with one worker and ten database connections."""
    return serve(WORKERS="1", CACHE_TTL_S="0", WRITE_RATE_PER_MINUTE="0")


@pytest.fixture
def users(service: Service) -> list[dict[str, Any]]:
    fields = [{"username": f"somebody-{number}", "password": PASSWORD} for number in range(6)]
    return [service.post("/api/users", body).json for body in fields]


@contextmanager
def locked(url: str, sql: str, *values: object) -> Iterator[None]:
    """Hold the locks of a statement in an open transaction."""
    with psycopg.connect(url) as connection:
        connection.execute(sql, values)
        yield
        connection.rollback()


ROW = "SELECT FROM users WHERE id = %s FOR UPDATE"
WRITES: dict[str, Callable[[Service, str, int], Response]] = {
    "PATCH": lambda service, path, n: service("PATCH", path, {"name": f"name {n}"}),
    "PATCH of the state": lambda service, path, n: service("PATCH", path, {"active": n % 2 == 0}),
    "PUT": lambda service, path, n: service("PUT", path, {"username": f"put-{n}"}),
    "DELETE": lambda service, path, _: service("DELETE", path),
    "a token": lambda service, path, n: service.post(
        "/api/tokens", {"name": f"t{n}", "role": "member", "user_id": path.rpartition("/")[2]}
    ),
}


def others(service: Service, users: list[dict[str, Any]], turn: int) -> dict[str, Response]:
    """Other requests meanwhile."""
    user, path = users[turn], f"/api/users/{users[turn]['id']}"
    login = {"username": users[turn + 1]["username"], "password": PASSWORD}
    return {
        "a user": service.get(path),
        "a search": service.get(f"/api/users?q=some&role=member&sort=name&limit={turn + 1}"),
        "history": service.get(f"{path}/history"),
        "signing in": service.post("/api/session", login),
        "a new user": service.post("/api/users", {"username": f"new-{turn}"}),
        "PATCH": service("PATCH", path, {"name": f"other {turn}"}),
        "PATCH of the state": service("PATCH", path, {"active": True, "role": "viewer"}),
        "PUT": service("PUT", path, {"username": user["username"], "password": PASSWORD}),
        "health": service.get("/api/health/ready"),
    }


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_twenty_writers_of_one_locked_row_delay_no_other_request(
    servers: Any, service: Service, users: list[dict[str, Any]], write: Callable[[Service, str, int], Response]
) -> None:
    path = f"/api/users/{users[0]['id']}"
    slow: dict[str, float] = {}
    with ThreadPoolExecutor(WRITERS) as pool, locked(servers.postgres.url, ROW, users[0]["id"]):
        writers = [pool.submit(write, service, path, n) for n in range(WRITERS)]
        time.sleep(0.3)
        assert not any(writer.done() for writer in writers)
        for turn in (1, 2, 3):
            for name, response in others(service, users, turn).items():
                assert response.status in (200, 201), (name, response.body)
                slow[name] = max(slow.get(name, 0.0), response.seconds)
        responses = [writer.result() for writer in writers]
    print({name: f"{1000 * s:.0f} ms" for name, s in slow.items()})  # noqa: T201
    assert max(slow.values()) < BOUND_S, slow
    for response in responses:
        assert response.status == 503
        assert "changing the same" in response.json["detail"]
        assert int(response.headers["Retry-After"]) >= 1
        assert response.seconds < REFUSED_WITHIN_S
    assert write(service, path, 0).status < 300, "nobody holds it any more"


def test_writers_of_many_locked_rows_delay_no_reads(
    servers: Any, service: Service, users: list[dict[str, Any]]
) -> None:
    """As after an UPDATE of all users: each writer waits for a different row."""
    made = [service.post("/api/users", {"username": f"locked-{number}"}).json for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool, locked(servers.postgres.url, "UPDATE users SET name = name || '!'"):
        writers = [pool.submit(service, "DELETE", f"/api/users/{user['id']}") for user in made]
        time.sleep(0.3)
        for turn in range(5):
            path = f"/api/users/{users[turn]['id']}"
            for asked in (path, f"/api/users?q=some&limit={turn + 1}", f"{path}/history", "/api/health"):
                response = service.get(asked)
                assert response.status == 200
                assert response.seconds < BOUND_S, asked
            login = {"username": users[turn]["username"], "password": PASSWORD}
            assert service.post("/api/session", login).seconds < BOUND_S
            assert service.post("/api/users", {"username": f"new-{turn}"}).seconds < BOUND_S
        responses = [writer.result() for writer in writers]
    assert {response.status for response in responses} == {503}
    assert max(response.seconds for response in responses) < REFUSED_WITHIN_S


def test_many_requests_with_one_idempotency_key_delay_no_other_request(
    servers: Any, service: Service, users: list[dict[str, Any]]
) -> None:
    sent = {"Idempotency-Key": "the same"}
    body = {"username": "taken-meanwhile"}
    username = "INSERT INTO users (id, username, username_key, name, name_key, role, search_vector)"
    values = "VALUES (gen_random_uuid(), 'taken-meanwhile', 'taken-meanwhile', 'x', 'x', 'member', '')"
    with ThreadPoolExecutor(WRITERS) as pool, locked(servers.postgres.url, f"{username} {values}"):
        writers = [pool.submit(service.post, "/api/users", body, headers=sent) for _ in range(WRITERS)]
        time.sleep(0.3)
        for name, response in others(service, users, 1).items():
            assert response.seconds < BOUND_S, name
        wait(writers)
    assert {writer.result().status for writer in writers} == {503}


def test_many_requests_for_one_identifier_delay_no_other_request(
    servers: Any, service: Service, users: list[dict[str, Any]]
) -> None:
    """A transaction by SQL inserts it, and has not committed yet."""
    columns = "INSERT INTO users (username, username_key, email, email_key, name, name_key, search_vector)"
    values = "VALUES ('x', 'x', 'x@corp.example', 'x@corp.example', 'x', 'x', '')"
    with ThreadPoolExecutor(WRITERS) as pool, locked(servers.postgres.url, f"{columns} {values}"):
        bodies = [{"username": f"w{number}", "email": "x@corp.example"} for number in range(WRITERS)]
        writers = [pool.submit(service.post, "/api/users", body) for body in bodies]
        time.sleep(0.3)
        for turn in range(3):
            response = service("PATCH", f"/api/users/{users[turn]['id']}", {"name": "other"})
            assert (response.status, response.seconds < BOUND_S) == (200, True)
        for name, response in others(service, users, 1).items():
            assert response.seconds < BOUND_S, name
        wait(writers)
    assert {writer.result().status for writer in writers} == {503}


def test_a_token_whose_row_is_locked_is_accepted(servers: Any, service: Service, users: list[dict[str, Any]]) -> None:
    """Only the update of its last use would wait."""
    draft = {"name": "a program", "role": "member", "user_id": users[0]["id"]}
    token = service.post("/api/tokens", draft).json
    with locked(servers.postgres.url, "SELECT FROM tokens WHERE id = %s FOR UPDATE", token["id"]):
        response = service.get("/api/users", headers={"Authorization": f"Bearer {token['token']}"})
        assert response.status == 200
        assert response.seconds < BOUND_S


def test_a_short_lock_refuses_no_request(servers: Any, service: Service, users: list[dict[str, Any]]) -> None:
    path = f"/api/users/{users[0]['id']}"
    with ThreadPoolExecutor(WRITERS) as pool:
        with locked(servers.postgres.url, ROW, users[0]["id"]):
            writers = [pool.submit(WRITES["PATCH of the state"], service, path, n) for n in range(WRITERS)]
            time.sleep(0.3)
        assert {writer.result().status for writer in writers} == {200}
