"""Group commit: concurrent writes share a statement, and each gets its own result."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from flask import Flask

from app.cache.single_flight import Batcher
from app.db.database import Database
from app.errors import N_, Unavailable
from app.http.services import services_of
from app.users.sql import WRITE_USERS
from app.users.writes import PendingWrite
from tests.support.api_client import ApiClient
from tests.support.rows import history_rows
from tests.support.secured_app import SecuredApp
from tests.support.waiting import wait_until


@contextmanager
def together(count: int, writer: ApiClient) -> Iterator[None]:
    """Let `count` calls that are started inside write by one statement.

    They wait in the queue while a write of `writer` is executed, which fails and writes nothing.
    """
    ask, get = Database.execute, Batcher.get
    is_under_way, go_on, waiting = threading.Event(), threading.Event(), list[object]()

    def asking(database: Database, statement: str, *values: object, **options: Any) -> Any:
        if statement is WRITE_USERS and not is_under_way.is_set():
            is_under_way.set()
            assert go_on.wait(10)
            raise Unavailable(N_("The service is too busy. Try again shortly."))
        return ask(database, statement, *values, **options)

    def getting(batcher: Batcher[Any, Any], key: object) -> Any:
        if isinstance(key, PendingWrite):
            waiting.append(key)
        return get(batcher, key)

    with (
        ThreadPoolExecutor(1) as pool,
        patch.object(Database, "execute", asking),
        patch.object(Batcher, "get", getting),
    ):
        first = pool.submit(writer.post, "/users", {"username": "first"})
        assert is_under_way.wait(10)
        yield
        wait_until(lambda: len(waiting) == 1 + count)
        # The last of them has still to take its place in the queue.
        time.sleep(0.1)
        go_on.set()
        assert first.result().status_code == 503


@pytest.fixture
def begin() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Start a call in a new thread."""
    with ThreadPoolExecutor(40) as pool:
        yield pool.submit


Begin = Callable[[Callable[[], Any]], Future[Any]]


def posts(app: Flask, bodies: list[dict[str, Any]], begin: Begin) -> list[Any]:
    with together(len(bodies), ApiClient(app)):
        begun = [begin(lambda body=body: ApiClient(app).post("/users", body)) for body in bodies]
    return [one.result() for one in begun]


def test_concurrent_creates_share_one_statement(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], spied: list[str], begin: Begin
) -> None:
    bodies = [{"username": f"u{n}", "name": f"Name {n}", "attributes": {"n": n}} for n in range(20)]
    responses = posts(app, bodies, begin)
    assert spied.count(WRITE_USERS) == 1
    assert [(one.status_code, one.json["username"], one.json["attributes"]["n"]) for one in responses] == [
        (201, f"u{n}", n) for n in range(20)
    ]
    for response in responses:
        assert api.get(f"/users/{response.json['id']}").json == response.json
        assert [entry[0] for entry in history_rows(database, uuid.UUID(response.json["id"]))] == [1]
    assert api.list_users(q="name") == sorted((one.json for one in responses), key=lambda user: user["id"])


def test_concurrent_creates_and_updates_share_one_statement(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], spied: list[str], begin: Begin
) -> None:
    users = [api.create_user(username=f"old{n}") for n in range(3)]
    for user in users:
        api.get(f"/users/{user['id']}")
    spied.clear()
    with together(6, ApiClient(app)):
        made = [begin(lambda n=n: ApiClient(app).post("/users", {"username": f"new{n}"})) for n in range(3)]
        changed = [begin(lambda one=one: ApiClient(app).patch(f"/users/{one['id']}", {"name": "New"})) for one in users]
    assert [one.result().status_code for one in (*made, *changed)] == [201] * 3 + [200] * 3
    assert spied.count(WRITE_USERS) == 1
    for response, version in (*((one.result(), 1) for one in made), *((one.result(), 2) for one in changed)):
        user_id = uuid.UUID(response.json["id"])
        assert api.get(f"/users/{user_id}").data == response.data
        assert response.json["version"] == version
        actions = database.execute("SELECT action FROM history WHERE user_id = %s ORDER BY id", [user_id]).fetchall()
        assert actions == [("created",), ("changed",)][:version]


def test_taking_a_username_while_it_is_released_succeeds_or_is_409(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], begin: Begin
) -> None:
    ada = api.create_user(username="ada")
    api.get(f"/users/{ada['id']}")
    with together(2, ApiClient(app)):
        made = begin(lambda: ApiClient(app).post("/users", {"username": "Ada"}))
        changed = begin(lambda: ApiClient(app).patch(f"/users/{ada['id']}", {"username": "countess"}))
    assert changed.result().json["username"] == "countess"
    assert made.result().status_code in (201, 409)
    assert database.execute("SELECT count(*) FROM users").fetchone() == (1 + (made.result().status_code == 201),)


def test_a_taken_name_fails_only_its_own_request(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], begin: Begin
) -> None:
    api.create_user(username="taken")
    names = ["a", "TAKEN", "b", "twice", "Twice", "c"]
    responses = posts(app, [{"username": name} for name in names], begin)
    statuses = dict(zip(names, (one.status_code for one in responses), strict=True))
    assert {name: statuses[name] for name in ("a", "TAKEN", "b", "c")} == {"a": 201, "TAKEN": 409, "b": 201, "c": 201}
    assert sorted((statuses["twice"], statuses["Twice"])) == [201, 409]
    assert database.execute("SELECT count(*) FROM users").fetchone() == (5,)
    assert database.execute("SELECT count(*) FROM history").fetchone() == (5,)


def test_several_changes_of_one_user_at_once_all_arrive(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], begin: Begin
) -> None:
    user, other = api.create_user(username="ada"), api.create_user(username="bob")
    for one in (user, other):
        api.get(f"/users/{one['id']}")
    bodies = [(user, {"name": "Ada"}), (user, {"email": "ada@example.org"}), (other, {"name": "Bob"})]
    with together(len(bodies), ApiClient(app)):
        begun = [
            begin(lambda one=one, body=body: ApiClient(app).patch(f"/users/{one['id']}", body)) for one, body in bodies
        ]
    assert [one.result().status_code for one in begun] == [200, 200, 200]
    last = api.get(f"/users/{user['id']}").json
    assert (last["name"], last["email"], last["version"]) == ("Ada", "ada@example.org", 3)
    assert [entry[0] for entry in history_rows(database, uuid.UUID(user["id"]))] == [1, 2, 3]


def test_a_write_that_waits_for_a_lock_delays_no_other_write(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], begin: Begin
) -> None:
    users = [api.create_user() for _ in range(4)]
    locked, *others = users
    with psycopg.connect(database.info.dsn, password=database.info.password) as other:
        other.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [locked["id"]])
        with together(len(users), ApiClient(app)):
            begun = [
                begin(lambda one=one: ApiClient(app).patch(f"/users/{one['id']}", {"name": "New"})) for one in users
            ]
        assert [one.result(10).status_code for one in begun[1:]] == [200] * len(others)
        # Nor who comes later.
        assert api.patch(f"/users/{others[0]['id']}", {"name": "Newer"}).status_code == 200
        assert not begun[0].done()
        other.rollback()
        assert begun[0].result(10).json["name"] == "New"


def test_a_write_that_waits_for_an_identifier_delays_no_other_write(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], begin: Begin
) -> None:
    """Another transaction has inserted a user of this name, and is still open."""
    like, names = api.create_user(username="like"), ("x", "Ada", "y")
    with psycopg.connect(database.info.dsn, password=database.info.password) as other:
        other.execute(
            "INSERT INTO users (username, username_key, name, name_key, search_vector)"
            " SELECT 'ada', 'ada', name, name_key, search_vector FROM users WHERE id = %s",
            [like["id"]],
        )
        with together(len(names), ApiClient(app)):
            begun = [begin(lambda name=name: ApiClient(app).post("/users", {"username": name})) for name in names]
        assert [begun[at].result(10).status_code for at in (0, 2)] == [201, 201]
        assert not begun[1].done()
        other.commit()
        assert begun[1].result(10).status_code == 409


def test_after_a_lost_connection_each_writer_gets_an_error_or_its_user_exists(
    app: Flask, api: ApiClient, database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, begin: Begin
) -> None:
    """The result of the COMMIT is unknown: each writer gets 503 or 201, and nothing is written twice."""
    ask = Database.execute
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fullstack-app'"

    def losing(pool: Database, statement: str, *values: object, **options: Any) -> Any:
        if statement is WRITE_USERS:
            database.execute(f"{end} AND state = 'idle'")
        return ask(pool, statement, *values, **options)

    monkeypatch.setattr(Database, "execute", losing)
    responses = posts(app, [{"username": f"u{n}"} for n in range(5)], begin)
    statuses = [one.status_code for one in responses]
    assert set(statuses) <= {201, 503}
    assert database.execute("SELECT count(*) FROM users").fetchone() == (statuses.count(201),)
    monkeypatch.undo()
    wait_until(lambda: api.get("/users").status_code == 200)


LOST = {
    "revoked": ("DELETE FROM tokens WHERE id = %(token)s", 401),
    "expired": ("UPDATE tokens SET expires_at = now() WHERE id = %(token)s", 401),
    "inactive": ("UPDATE users SET active = false WHERE id = %(user)s", 401),
    "trash": ("UPDATE users SET deleted_at = now() WHERE id = %(user)s", 401),
    "lowered": ("UPDATE users SET role = 'member' WHERE id = %(user)s", 503),
    "lowered token": ("UPDATE tokens SET role = 'viewer' WHERE id = %(token)s", 503),
    "raised": ("UPDATE users SET role = 'admin' WHERE id = %(user)s", 503),
}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize(
    "way", ["POST", "POST once", "PATCH", "PATCH unknown", "PATCH of the role", "PATCH of oneself"]
)
def test_a_permission_revoked_on_another_host_writes_nothing(
    own_secured_app: SecuredApp, database: psycopg.Connection[Any], lost: str, way: str
) -> None:
    """Another host ended the right, and this host has not seen the change yet."""
    ada, bob = own_secured_app.create_user("editor", username="ada"), own_secured_app.create_user(username="bob")
    token = own_secured_app.token(ada)
    program = own_secured_app.bearer_client(token["token"])
    assert [program.get(path).status_code for path in (f"/users/{bob['id']}", "/me")] == [200, 200]
    database.execute("SET fullstack_app.internal = 'yes'")
    sql, status = LOST[lost]
    before = counts(database)
    database.execute(sql, {"token": token["id"], "user": ada["id"]})
    response = {
        "POST": lambda: program.post("/users", {"username": "new"}),
        "POST once": lambda: program.post("/users", {"username": "new"}, headers={"Idempotency-Key": "k"}),
        "PATCH": lambda: program.patch(f"/users/{bob['id']}", {"name": "New"}),
        "PATCH unknown": lambda: program.patch(f"/users/{uuid.uuid4()}", {"name": "New"}),
        "PATCH of the role": lambda: program.patch(f"/users/{bob['id']}", {"active": False}),
        "PATCH of oneself": lambda: program.patch("/me", {"name": "New"}),
    }[way]()
    assert response.status_code == status
    assert counts(database) == before


def test_a_revoked_token_fails_only_its_own_write(
    own_secured_app: SecuredApp, database: psycopg.Connection[Any], begin: Begin
) -> None:
    editors = [own_secured_app.create_user("editor") for _ in range(4)]
    programs = [own_secured_app.token(user) for user in editors]
    clients = [own_secured_app.bearer_client(token["token"]) for token in programs]
    assert [client.get("/me").status_code for client in clients] == [200] * 4
    database.execute("SET fullstack_app.internal = 'yes'")
    database.execute("DELETE FROM tokens WHERE id = %s", [programs[1]["id"]])
    with together(4, own_secured_app.admin):
        begun = [
            begin(lambda client=client, n=n: client.post("/users", {"username": f"u{n}"}))
            for n, client in enumerate(clients)
        ]
    assert [one.result().status_code for one in begun] == [201, 401, 201, 201]


def test_a_change_is_read_at_once(own_secured_app: SecuredApp) -> None:
    user, token = own_secured_app.create_user(username="bob"), own_secured_app.token(own_secured_app.admin.user)
    program = own_secured_app.bearer_client(token["token"])
    program.get(f"/users/{user['id']}")
    for number in range(2, 6):
        response = program.patch(f"/users/{user['id']}", {"name": f"Bob {number}"})
        assert program.get(f"/users/{user['id']}").data == response.data
        assert response.json["version"] == number


def test_a_concurrent_change_is_not_hidden_by_an_older_snapshot(
    own_secured_app: SecuredApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is slow to return, and another write changes the same user meanwhile."""
    user = own_secured_app.create_user(username="bob")
    path, ask = f"/users/{user['id']}", Database.execute
    own_secured_app.admin.get(path)
    changed, go_on = threading.Event(), threading.Event()

    def slowly(database: Database, statement: str, *values: object, **options: Any) -> Any:
        found = ask(database, statement, *values, **options)
        if statement is WRITE_USERS:
            changed.set()
            assert go_on.wait(10)
        return found

    monkeypatch.setattr(Database, "execute", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(own_secured_app.admin.patch, path, {"name": "First"})
        assert changed.wait(10)
        # By another way, which does not wait for the first.
        second = own_secured_app.admin.put(path, {"username": "bob", "name": "Second"})
        go_on.set()
        assert first.result(10).json["version"] == 2
    assert own_secured_app.admin.get(path).data == second.data
    assert second.json["version"] == 3


def counts(database: psycopg.Connection[Any]) -> tuple[int, ...]:
    """Users, changes of them, and entries of their history but those of signing in."""
    statement = "SELECT (SELECT count(*) FROM users), (SELECT sum(version) FROM users), (SELECT count(*) FROM history)"
    found: tuple[int, ...] = database.execute(statement).fetchone() or ()
    return found


def test_token_use_is_recorded_for_cached_tokens(
    own_secured_app: SecuredApp, database: psycopg.Connection[Any]
) -> None:
    token = own_secured_app.token(own_secured_app.create_user("editor"))
    program = own_secured_app.bearer_client(token["token"])
    assert program.post("/users", {"username": "new"}).status_code == 201
    (used,) = database.execute("SELECT last_used_at FROM tokens WHERE id = %s", [token["id"]]).fetchone()
    assert used is not None
    assert services_of(own_secured_app.app).tokens.touch_due_s[token["id"]] > time.monotonic()
    assert time.time() - used.timestamp() < 60
