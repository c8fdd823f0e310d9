"""Fixtures of the tests of the API and of the console."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from redis.connection import AbstractConnection

from app.db.database import Database
from app.http.services import services_of
from app.ops.service_state import Phase
from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.cache_pair import CachePair, SampleUsers, make_sample_users
from tests.support.console_client import PASSWORD, send
from tests.support.external_sql import role_connection
from tests.support.leases import grant_lease
from tests.support.secured_app import SecuredApp


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the Redis commands that are sent from now on. A pipeline counts as one command."""
    sent: list[str] = []
    send = AbstractConnection.send_packed_command

    def note(connection: AbstractConnection, command: Any, check_health: bool = True) -> None:  # noqa: FBT002
        first = b"".join([command] if isinstance(command, bytes) else command)
        sent.append(first.split(b"\r\n")[2].decode())
        send(connection, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", note)
    return sent


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prepared statements that are executed from now on."""
    ask, seen = Database.execute, []

    def asking(database: Database, sql: str, *given: Any, **options: Any) -> Any:
        seen.append(sql)
        return ask(database, sql, *given, **options)

    monkeypatch.setattr(Database, "execute", asking)
    return seen


@pytest.fixture
def clear_tables(api: ApiClient, database: psycopg.Connection[Any]) -> Callable[[], None]:  # noqa: ARG001 - called for its effect
    """Empty the tables, for the next example of Hypothesis."""

    def clear() -> None:
        # PostgreSQL takes 40 ms for each TRUNCATE. Without the triggers, which write the history of what is deleted.
        database.execute("SET fullstack_app.internal = 'yes'")
        database.execute("DELETE FROM users")
        database.execute("RESET fullstack_app.internal")
        database.execute("DELETE FROM history")
        database.execute("DELETE FROM idempotency_keys")

    return clear


@pytest.fixture
def analyst(servers: Stack, api: ApiClient) -> Iterator[psycopg.Connection[Any]]:  # noqa: ARG001 - it migrates
    """A connection of a role that may write all tables but is not the role of the service."""
    with role_connection(servers) as connection:
        yield connection


@pytest.fixture
def admin(app: Flask, api: ApiClient) -> FlaskClient:
    """A browser with a session of the first administrator. The tables have no other users."""
    browser = app.test_client()
    made = browser.post("/first", data={"email": "ada@example.org", "name": "Ada", "password": PASSWORD})
    assert made.status_code == 303
    assert api.get("/users").status_code == 401
    return browser


@pytest.fixture
def sign_in(app: Flask, admin: FlaskClient) -> Callable[[str], FlaskClient]:
    """Create a user with a role. Returns a browser with a session of the user."""

    def sign_in(role: str) -> FlaskClient:
        name = f"{role}-of-test"
        made = send(admin, "/people/new", name=name, username=name, role=role, active="on", password=PASSWORD)
        assert made.status_code == 303, made.text
        browser = app.test_client()
        assert send(browser, "/sign-in", username=name, password=PASSWORD).status_code == 303
        return browser

    return sign_in


@pytest.fixture(scope="module")
def own_app(make_app: Callable[..., Flask]) -> Flask:
    """An application for one file, whose lease tests may end."""
    return make_app()


@pytest.fixture(scope="module")
def without_caches(make_app: Callable[..., Flask]) -> Flask:
    """An application for one file, without caches."""
    return make_app(cache_ttl_s=0)


@pytest.fixture
def own_secured_app(own_app: Flask, empty: Callable[[], None]) -> SecuredApp:  # noqa: ARG001 - it is called for its effect
    """`own_app` with an administrator."""
    services = services_of(own_app)
    grant_lease(own_app)
    services.state.is_secured, services.state.phase = False, Phase.UNMANAGED
    services.generations.invalidate()
    return SecuredApp(own_app)


@pytest.fixture
def pair(own_secured_app: SecuredApp, without_caches: Flask) -> Iterator[CachePair]:
    """`own_app`, and an application without caches."""
    # It would ask PostgreSQL only at its first request with a credential.
    services_of(without_caches).state.is_secured = True
    made = CachePair(own_secured_app.app, without_caches)
    yield made
    made.close()


@pytest.fixture
def sample_users(own_secured_app: SecuredApp, database: psycopg.Connection[Any]) -> SampleUsers:
    """One user of each kind, with tokens of each kind, in `own_app`."""
    made = make_sample_users(own_secured_app, database)
    # One token was made to expire by SQL, and no poller tells this application.
    services_of(own_secured_app.app).generations.invalidate()
    return made


@pytest.fixture
def flask(app: Flask, api: ApiClient) -> Callable[..., Result]:  # noqa: ARG001 - on empty tables
    """Run `flask WORDS`."""

    def run(*words: str, stdin: str | None = None) -> Result:
        return app.test_cli_runner().invoke(args=list(words), input=stdin, catch_exceptions=False)

    return run
