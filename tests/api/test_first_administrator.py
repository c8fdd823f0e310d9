"""Of concurrent requests that create the first administrator, one succeeds."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.http.services import services
from tests.support.api_client import ApiClient
from tests.support.console_client import PASSWORD, SAME_ORIGIN
from tests.support.service_process import Service
from tests.support.waiting import wait_until

_ONES = "role = 'admin' AND active AND deleted_at IS NULL AND password_hash IS NOT NULL"
Way = Callable[[Flask, dict[str, str]], Any]


def page(app: Flask, _: dict[str, str]) -> Any:
    form = {"email": "page@example.org", "name": "Page", "password": PASSWORD}
    response = app.test_client().post("/first", data=form, headers=SAME_ORIGIN)
    assert response.status_code == 303, response.text
    # The later request is redirected to sign-in, the first one is signed in.
    return "Set-Cookie" in response.headers


def request(method: str, path: str, **body: Any) -> Way:
    def send(app: Flask, ids: dict[str, str]) -> bool:
        response = ApiClient(app)(method, path.format(**ids), json=body or None)
        assert response.status_code in (200, 201, 409), response.text
        if response.status_code == 409:
            assert "An administrator already exists" in response.json["detail"]
        return response.status_code != 409

    return send


def form(action: str, user: str, **more: str) -> Way:
    def send(app: Flask, ids: dict[str, str]) -> bool:
        data = {"action": action, "id": ids[user], "expected": "1", **more}
        response = app.test_client().post("/people/bulk", data=data, headers=SAME_ORIGIN)
        assert response.status_code in (303, 409), response.text
        return response.status_code == 303

    return send


def settings(app: Flask, _: dict[str, str]) -> bool:
    with app.app_context():
        services().bootstrap_admin.create_from_settings()
    return True


def command(app: Flask, _: dict[str, str]) -> bool:
    words = ["users", "create", "--role", "admin", "--email", "command@example.org", "--password-stdin"]
    found = app.test_cli_runner().invoke(args=words, input=f"{PASSWORD}\n")
    assert found.exit_code == 0, found.output
    return True


ADMIN = {"username": "new", "role": "admin", "password": PASSWORD}
WAYS: dict[str, Way] = {
    "page": page,
    "POST": request("POST", "/users", **ADMIN),
    "PUT, new": request("PUT", "/users/00000000-0000-4000-8000-000000000001", **ADMIN),
    "PUT, known": request("PUT", "/users/{member}", **ADMIN),
    "PATCH of a role": request("PATCH", "/users/{member}", role="admin"),
    "PATCH of the state": request("PATCH", "/users/{inactive}", active=True),
    "PATCH of a password": request("PATCH", "/users/{passwordless}", password=PASSWORD),
    "restore": request("POST", "/users/{trashed}/restore"),
    "roles of many": form("role", "member", role="admin"),
    "states of many": form("activate", "inactive"),
    "restore of many": form("restore", "trashed"),
    "settings": settings,
    "command": command,
}


@pytest.fixture
def two_apps(make_app: Callable[..., Flask], empty: Callable[[], None]) -> tuple[Flask, Flask]:  # noqa: ARG001
    """Two applications in setup mode on one database, without shared memory."""
    first = {"admin_email": "settings@example.org", "admin_password": PASSWORD}
    return make_app(log_level="error", **first), make_app(log_level="error", **first)


@pytest.fixture
def ids(two_apps: tuple[Flask, Flask], database: psycopg.Connection[Any]) -> dict[str, str]:
    """Users who become administrator by one request."""
    client = ApiClient(two_apps[0])
    made = {
        "member": client.create_user(username="member", password=PASSWORD),
        "inactive": client.create_user(username="inactive", password=PASSWORD, role="admin", active=False),
        "passwordless": client.create_user(username="passwordless", role="admin"),
        "trashed": client.create_user(username="trashed", password=PASSWORD, role="admin", active=False),
    }
    found = {name: user["id"] for name, user in made.items()}
    assert client.delete(f"/users/{found['trashed']}").status_code == 204
    database.execute("UPDATE users SET active = true WHERE id = %s", [found["trashed"]])
    return found


@pytest.fixture
def locked(servers: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection with a lock that blocks writes to users, but no reads. A commit releases it."""
    with psycopg.connect(servers.postgres.url) as connection:
        connection.execute("LOCK TABLE users IN SHARE MODE")
        yield connection


def begun(
    pool: ThreadPoolExecutor, database: psycopg.Connection[Any], waiting: int, way: Way, *args: Any
) -> Future[Any]:
    """Start `way` in a thread. Returns when `waiting` sessions wait for a lock, or `way` has ended."""
    future = pool.submit(way, *args)
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    wait_until(lambda: database.execute(statement).fetchone() == (waiting,) or future.done())
    return future


def raced(
    two_apps: tuple[Flask, Flask],
    ids: dict[str, str],
    database: psycopg.Connection[Any],
    locked: Any,
    ways: tuple[Way, Way],
) -> tuple[bool, bool]:
    """Whether each of two made an administrator, of whom both had seen that there is none before either wrote."""
    with ThreadPoolExecutor(2) as pool:
        first = begun(pool, database, 1, ways[0], two_apps[0], ids)
        second = begun(pool, database, 2, ways[1], two_apps[1], ids)
        locked.commit()
        return first.result(), second.result()


def administrators(database: psycopg.Connection[Any]) -> int:
    found = database.execute(f"SELECT count(*) FROM users WHERE {_ONES}").fetchone()  # noqa: S608 - a constant
    assert found is not None
    return int(found[0])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_setup_page_creates_no_second_administrator(
    two_apps: tuple[Flask, Flask], ids: dict[str, str], database: psycopg.Connection[Any], locked: Any, way: Way
) -> None:
    assert raced(two_apps, ids, database, locked, (way, page)) == (True, False)
    assert administrators(database) == 1


@pytest.mark.parametrize(
    "way", [way for way in WAYS.values() if way is not command], ids=[name for name in WAYS if name != "command"]
)
def test_nothing_makes_another_one_while_the_page_makes_the_first(
    two_apps: tuple[Flask, Flask], ids: dict[str, str], database: psycopg.Connection[Any], locked: Any, way: Way
) -> None:
    first, second = raced(two_apps, ids, database, locked, (page, way))
    assert first
    # What the settings name is made only when there is none, without a word.
    assert second is (way is settings)
    assert administrators(database) == 1


def test_a_command_makes_as_many_as_it_is_told_to(
    two_apps: tuple[Flask, Flask], ids: dict[str, str], database: psycopg.Connection[Any], locked: Any
) -> None:
    """A command may create any number of administrators."""
    assert raced(two_apps, ids, database, locked, (page, command)) == (True, True)
    assert administrators(database) == 2


def test_an_administrator_makes_others(two_apps: tuple[Flask, Flask], ids: dict[str, str]) -> None:
    browser = two_apps[0].test_client()
    made = browser.post(
        "/first", data={"email": "a@example.org", "name": "A", "password": PASSWORD}, headers=SAME_ORIGIN
    )
    assert made.status_code == 303
    for name in ("member", "inactive"):
        change = {"role": "admin", "active": True}
        response = browser.patch(f"/api/users/{ids[name]}", json=change, headers=SAME_ORIGIN)
        assert response.status_code == 200, response.text
    assert browser.post("/api/users", json=ADMIN, headers=SAME_ORIGIN).status_code == 201


@pytest.mark.usefixtures("empty")
def test_of_concurrent_requests_to_two_services_one_creates_the_first_administrator(
    serve: Callable[..., Service], database: psycopg.Connection[Any]
) -> None:
    services = [serve(WORKERS="2") for _ in range(2)]
    barrier = threading.Barrier(8)

    def come(number: int) -> int:
        body = {"username": f"first-{number}", "role": "admin", "password": PASSWORD}
        barrier.wait()
        return services[number % 2].post("/api/users", body).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(come, range(8)))
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 401, 409}
    assert administrators(database) == 1
    # Each of the other processes learns of it within a second.
    time.sleep(1.1)
    assert {service.get("/api/users").status for service in services for _ in range(6)} == {401}
