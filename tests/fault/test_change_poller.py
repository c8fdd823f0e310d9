"""Changes by other hosts and by SQL, seen by two hosts."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import psycopg
import pytest
import redis

from app.cache.change_poller import LEASE_S
from app.config import load_settings
from app.db.migrate import prepare
from embedded import Postgres, Redis
from tests.support.service_process import Service
from tests.support.two_hosts import TwoHosts
from tests.support.waiting import wait_until

TRIES = 8
"""How often each path is requested on a new connection, to reach both workers."""
TABLES = ("users", "tokens")
QUIET = {"WORKERS": "2", "LOG_LEVEL": "warning", "WRITE_RATE_PER_MINUTE": "0", "REDIS_TIMEOUT_MS": "500"}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL that tests may break."""
    with Postgres(tmp_path_factory.mktemp("postgres") / "data") as server:
        prepare(load_settings({}, database_url=server.url))
        yield server


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for the hosts of this file."""
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def hosts_of_file(serve_all: Callable[..., Service], redis_server: Redis, postgres: Postgres) -> TwoHosts:
    """A secured service on two hosts."""
    env = {**QUIET, "DATABASE_URL": postgres.url, "REDIS_URL": redis_server.url}
    made = TwoHosts([serve_all(**env) for _ in range(2)])
    made.set_up()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for table in TABLES:
            connection.execute(f"CREATE TABLE saved_{table} AS TABLE {table}")
    return made


@pytest.fixture
def sql_(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """A connection from outside the service."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def hosts(hosts_of_file: TwoHosts, sql_: psycopg.Connection[Any]) -> TwoHosts:
    """The hosts, with their original users and tokens."""
    sql_.execute("BEGIN; TRUNCATE users, tokens")
    for table in TABLES:
        sql_.execute(f"INSERT INTO {table} SELECT * FROM saved_{table}")  # noqa: S608 - names from above
    sql_.execute("COMMIT")
    time.sleep(LEASE_S)
    return hosts_of_file


class Reader:
    """Reads one user, the own user and pages from a host, on several connections, by token."""

    def __init__(self, hosts: TwoHosts, host: int) -> None:
        self.service, self._hosts = hosts.services[host], hosts
        self._user_id = hosts.user_ids[0]

    def get(self, path: str, token: str) -> Any:
        return self.service.get(path, headers={"Authorization": f"Bearer {token}"})

    def one(self) -> Any:
        return self.get(f"/api/users/{self._user_id}", self._hosts.admin_token)

    def names(self) -> set[str]:
        """All names of the first user in these responses."""
        found = set()
        for _ in range(TRIES):
            me = self.get("/api/me", self._hosts.tokens[0])
            pages = [
                self.get(f"/api/users?{query}", self._hosts.admin_token) for query in ("sort=username", "q=person0")
            ]
            responses = [me, self.one(), *pages]
            assert {response.status for response in responses} == {200}
            shown = [response.json for response in responses]
            users = [user for one in shown for user in (one if isinstance(one, list) else [one])]
            found |= {user["name"] for user in users if user["id"] == self._user_id}
        return found


def poller_of(service: Service) -> psutil.Process:
    """The child of the launcher that does not listen."""
    (found,) = pollers_of(service)
    return found


def pollers_of(service: Service) -> list[psutil.Process]:
    """The same, also when there is none, or one that just begins."""
    found = []
    for child in psutil.Process(service.process.pid).children():
        with contextlib.suppress(psutil.Error):
            is_listening = any(one.status == "LISTEN" for one in child.net_connections("tcp"))
            if child.status() != psutil.STATUS_ZOMBIE and not is_listening:
                found.append(child)
    return found


def shown_after(reader: Reader, name: str, began: float) -> None:
    """All reads that begin later than the bound return the new value."""
    time.sleep(max(0.0, began + LEASE_S - time.monotonic()))
    assert reader.names() == {name}


SQL = {
    "a change": "UPDATE users SET name = 'New' WHERE username = 'person0'",
    "a change of all": "UPDATE users SET name = 'New'",
    "a change by a function": "DO $$ BEGIN UPDATE users SET name = 'New' WHERE username = 'person0'; END $$",
    "a change in two steps": "BEGIN; UPDATE users SET name = 'Newer'; UPDATE users SET name = 'New'; COMMIT",
    "a change of over 1,000": (
        "INSERT INTO users (username, username_key, name, name_key, search_vector)"
        " SELECT 'u' || n, 'u' || n, '', '', '' FROM generate_series(1, 1500) AS n;"
        " UPDATE users SET name = 'New'"
    ),
}


@pytest.mark.parametrize("kind", SQL)
def test_a_change_by_sql_is_read_on_every_host_within_the_bound(
    hosts: TwoHosts, sql_: psycopg.Connection[Any], kind: str
) -> None:
    readers = [Reader(hosts, host) for host in (0, 1)]
    assert [reader.names() for reader in readers] == [{"Person"}] * 2
    sql_.execute(SQL[kind].encode())
    began = time.monotonic()
    for reader in readers:
        shown_after(reader, "New", began)


ENDS = {
    "a token": ("DELETE FROM tokens WHERE user_id = %s", 401),
    "all tokens": ("TRUNCATE tokens", 401),
    "all users": ("TRUNCATE users CASCADE", 401),
    "inactive": ("UPDATE users SET active = false WHERE id = %s", 401),
    "another id": ("UPDATE users SET deleted_at = now() WHERE id = %s", 401),
}


@pytest.mark.parametrize("kind", ENDS)
def test_a_permission_revoked_by_sql_ends_on_every_host_within_the_bound(
    hosts: TwoHosts, sql_: psycopg.Connection[Any], kind: str
) -> None:
    readers, (statement, status) = [Reader(hosts, host) for host in (0, 1)], ENDS[kind]
    for reader in readers:
        assert {reader.get("/api/me", hosts.tokens[0]).status for _ in range(TRIES)} == {200}
    sql_.execute(statement.encode(), [hosts.user_ids[0]] if "%s" in statement else [])
    time.sleep(LEASE_S)
    for reader in readers:
        assert {reader.get("/api/me", hosts.tokens[0]).status for _ in range(TRIES)} == {status}


def test_a_long_transaction_is_not_missed_and_blocks_no_cache(
    hosts: TwoHosts, sql_: psycopg.Connection[Any], postgres: Postgres
) -> None:
    reader = Reader(hosts, 1)
    with psycopg.connect(postgres.url) as slow:
        slow.execute("UPDATE users SET name = 'Slow' WHERE username = 'person0'")
        for number in range(5):
            sql_.execute("UPDATE users SET name = %s WHERE username = 'person1'", [f"n{number}"])
            time.sleep(0.2)
        assert reader.names() == {"Person"}
        slow.commit()
        began = time.monotonic()
    shown_after(reader, "Slow", began)


def test_a_write_is_read_on_its_host_at_once_and_on_others_within_the_bound(hosts: TwoHosts) -> None:
    readers, path = [Reader(hosts, host) for host in (0, 1)], f"/api/users/{hosts.user_ids[0]}"
    headers = {"Authorization": f"Bearer {hosts.admin_token}"}
    for number in range(5):
        for reader in readers:
            reader.names()
        assert hosts.services[0]("PATCH", path, {"name": f"n{number}"}, headers).status == 200
        began = time.monotonic()
        assert readers[0].names() == {f"n{number}"}
        shown_after(readers[1], f"n{number}", began)


def test_without_postgresql_reads_are_503_once_the_lease_has_ended(hosts: TwoHosts, postgres: Postgres) -> None:
    reader = Reader(hosts, 0)
    reader.names()
    for outage in ("killed", "hung"):
        (postgres.kill if outage == "killed" else postgres.pause)()
        began = time.monotonic()
        try:
            while time.monotonic() < began + LEASE_S - 0.01:
                assert reader.one().status in (200, 503)
            time.sleep(0.02)
            assert {reader.one().status for _ in range(4)} == {503}, outage
        finally:
            (postgres.start if outage == "killed" else postgres.resume)()
        wait_until(lambda: reader.one().status == 200, seconds=20)
        # All workers are back.
        wait_until(lambda: {reader.one().status for _ in range(TRIES)} == {200}, seconds=20)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("UPDATE users SET name = 'After' WHERE username = 'person0'")
    shown_after(reader, "After", time.monotonic())


@pytest.mark.parametrize("signal", ["killed", "hung"])
def test_without_a_poller_caches_are_bypassed_until_it_is_replaced(
    hosts: TwoHosts, sql_: psycopg.Connection[Any], signal: str
) -> None:
    service, reader = hosts.services[0], Reader(hosts, 0)
    reader.names()
    poller = poller_of(service)
    (poller.kill if signal == "killed" else poller.suspend)()
    began = time.monotonic()
    for number in range(12):
        sql_.execute("UPDATE users SET name = %s WHERE username = 'person0'", [f"n{number}"])
        shown_after(reader, f"n{number}", time.monotonic())
    wait_until(lambda: [one.pid for one in pollers_of(service)] not in ([], [poller.pid]), seconds=40)
    print(f"replaced after {time.monotonic() - began:.1f} s")  # noqa: T201 - shown by -rP
    sql_.execute("SET fullstack_app.internal = 'yes'")
    # On a busy machine, polls may be so late that a poller invalidates everything again.
    wait_until(lambda: _caches_are_used(reader, sql_))


def _caches_are_used(reader: Reader, sql_: psycopg.Connection[Any]) -> bool:
    """Whether an internal change by SQL, which no poller is told of, is not read."""
    before = reader.names()
    sql_.execute("UPDATE users SET name = name || '.' WHERE username = 'person0'")
    return reader.names() == before


def test_a_write_whose_worker_was_killed_before_the_invalidation_is_read_within_the_bound(
    hosts: TwoHosts, sql_: psycopg.Connection[Any]
) -> None:
    """A statement waits for a lock; its worker is killed; PostgreSQL goes on and commits all the same."""
    service, reader = hosts.services[0], Reader(hosts, 0)
    path, headers = f"/api/users/{hosts.user_ids[0]}", {"Authorization": f"Bearer {hosts.admin_token}"}
    workers = [one for one in psutil.Process(service.process.pid).children() if one.pid != poller_of(service).pid]
    # So slow that a worker can be killed while its statement is under way, and has its transaction of its own.
    sql_.execute(
        "CREATE OR REPLACE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;"
        " CREATE TRIGGER slowly BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.name = 'Slowly')"
        " EXECUTE FUNCTION slowly()"
    )
    try:
        with contextlib.suppress(OSError):
            service("PATCH", path, {"name": "Slowly"}, headers, timeout=0.2)
        for worker in workers:
            worker.kill()
        wait_until(lambda: name_of(sql_) == "Slowly", seconds=3)
        began = time.monotonic()
        service.wait_for(lambda: reader.one().status == 200)
        shown_after(reader, "Slowly", began)
    finally:
        sql_.execute("DROP TRIGGER slowly ON users; DROP FUNCTION slowly()")


def name_of(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("SELECT name FROM users WHERE username = 'person0'").fetchone()
    return str(row[0]) if row else ""


def responses(connection: psycopg.Connection[Any]) -> bool:
    """Whether this connection still works."""
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def accepts_connections(postgres: Postgres) -> bool:
    try:
        psycopg.connect(postgres.url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_after_a_crash_recovery_no_older_cached_value_is_used(
    hosts: TwoHosts, sql_: psycopg.Connection[Any], postgres: Postgres
) -> None:
    """A backend that is killed takes the server down, which recovers; what was not on disk yet is lost."""
    reader = Reader(hosts, 0)
    reader.names()
    with psycopg.connect(postgres.url, autocommit=True) as victim:
        victim.execute("SET synchronous_commit = off")
        victim.execute("UPDATE users SET name = 'Lost?' WHERE username = 'person0'")
        psutil.Process(victim.info.backend_pid).kill()
    # The server ends every other connection first, and refuses new ones until it has recovered.
    wait_until(lambda: not responses(sql_), seconds=20)
    wait_until(lambda: accepts_connections(postgres), seconds=20)
    wait_until(lambda: reader.one().status == 200, seconds=20)
    wait_until(lambda: {reader.one().status for _ in range(TRIES)} == {200}, seconds=20)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        kept = name_of(connection)
        assert reader.names() == {kept}
        connection.execute("UPDATE users SET name = 'After' WHERE username = 'person0'")
    shown_after(reader, "After", time.monotonic())


def test_a_redis_restored_from_an_old_dump_returns_no_stale_value(
    hosts: TwoHosts, redis_server: Redis, sql_: psycopg.Connection[Any]
) -> None:
    readers = [Reader(hosts, host) for host in (0, 1)]
    for reader in readers:
        reader.names()
    with redis.Redis.from_url(redis_server.url) as client:
        dump = {key: client.dump(key) for key in client.keys("fsa:answer:*")}
        assert dump, "nothing was kept, and this test shows nothing"
        sql_.execute("UPDATE users SET name = 'New' WHERE username = 'person0'")
        time.sleep(LEASE_S)
        for key, value in dump.items():
            client.restore(key, 0, value, replace=True)
    for reader in readers:
        assert reader.names() == {"New"}
