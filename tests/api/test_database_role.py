"""The service uses a database role that may only read and write rows."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Flask
from psycopg import sql

from app.config import Settings, load_settings
from app.db.migrate import prepare
from embedded import Stack
from tests.support.api_client import ApiClient
from tests.support.service_process import Service, run_program

ROLE = "fullstack_app"
FORBIDDEN = {
    "a table": "CREATE TABLE mine (id int)",
    "a temporary table": "CREATE TEMPORARY TABLE mine (id int)",
    "a schema": "CREATE SCHEMA mine",
    "a function": "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "an index": "CREATE INDEX mine ON users (id)",
    "a column": "ALTER TABLE users ADD COLUMN mine int",
    "a trigger": "ALTER TABLE users DISABLE TRIGGER ALL",
    "the end of a table": "DROP TABLE history",
    "all rows at once": "TRUNCATE users CASCADE",
    "a role": "CREATE ROLE mine",
    "its own rights": f"ALTER ROLE {ROLE} SUPERUSER",
    "the owner": "SET ROLE postgres",
    "the owner's session": "SET SESSION AUTHORIZATION postgres",
    "a program": "COPY users (name) FROM PROGRAM 'id'",
    "a file": "SELECT pg_read_file('PG_VERSION')",
    "the revision": "UPDATE alembic_version SET version_num = 'x'",
    "passwords of roles": "SELECT rolpassword FROM pg_authid",
    "a setting of the server": "ALTER SYSTEM SET log_statement = 'all'",
    "a database": "CREATE DATABASE mine",
}


@pytest.fixture(scope="module")
def settings(servers: Stack) -> Settings:
    return load_settings({}, database_url=servers.postgres.url)


@pytest.fixture
def as_role(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(settings.role_conninfo or "", autocommit=True) as connection:
        yield connection


@pytest.fixture
def run_flask(servers: Stack) -> Callable[..., Any]:
    """Run `flask WORDS`."""
    own = {"REDIS_URL": servers.redis.url}
    return lambda *words, **env: run_program("-m", "flask", *words, **{**own, **env})


@pytest.fixture
def limited_owner(servers: Stack) -> Iterator[Callable[[str], str]]:
    """The URL of a new database whose owner is no superuser, made with these attributes."""
    name = f"own_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:

        def make(attributes: str) -> str:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw' {attributes}")
            connection.execute(f"CREATE DATABASE {name} OWNER {name}")
            return f"postgresql://{name}:pw@127.0.0.1:{servers.postgres.port}/{name}"

        yield make
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute(f"DROP ROLE IF EXISTS {name}_app")
        connection.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_role_may_not_create_or_drop_objects(as_role: psycopg.Connection[Any], what: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidAuthorizationSpecification)):
        as_role.execute(FORBIDDEN[what])


def test_the_role_has_no_attribute_and_no_membership(database: psycopg.Connection[Any]) -> None:
    row = database.execute(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,"
        " EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid) FROM pg_roles WHERE rolname = %s",
        [ROLE],
    ).fetchone()
    assert row == (True, False, False, False, False, False, False)


def test_the_role_reads_and_writes_every_table_of_the_service_and_no_other(database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS foreign_to_us (id int)")
    try:
        rights = dict(
            database.execute(
                "SELECT relname, (SELECT string_agg(right_, ' ' ORDER BY right_) FROM unnest(ARRAY['SELECT', 'INSERT',"
                " 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS right_"
                " WHERE has_table_privilege(%s, pg_class.oid, right_))"
                " FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
                [ROLE],
            ).fetchall()
        )
    finally:
        database.execute("DROP TABLE foreign_to_us")
    assert rights.pop("foreign_to_us") is None
    assert rights.pop("alembic_version") == "SELECT"
    assert set(rights.values()) == {"DELETE INSERT SELECT UPDATE"}
    assert {"users", "history", "tokens"} <= rights.keys()


def open_functions(database: psycopg.Connection[Any]) -> list[Any]:
    """Functions that everybody may execute, but only the service needs."""
    return database.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND (prosecdef OR proname = 'mark_internal_change') AND has_function_privilege('public', oid, 'EXECUTE')"
    ).fetchall()


def test_no_other_function_is_executable_by_all_roles(database: psycopg.Connection[Any]) -> None:
    assert open_functions(database) == []


def test_its_password_is_not_the_owners_and_no_log_or_catalog_has_it(
    settings: Settings, servers: Stack, database: psycopg.Connection[Any]
) -> None:
    assert settings.role_password != servers.postgres.password
    other = load_settings({}, database_url=servers.postgres.url.replace(servers.postgres.password, "other"))
    assert other.role_password != settings.role_password
    stored = database.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [ROLE]).fetchone()
    assert stored
    assert stored[0].startswith("SCRAM-SHA-256$")
    assert settings.role_password not in servers.postgres.log.read_text(errors="replace")


def test_the_application_of_these_tests_works_as_the_role(app: Flask) -> None:
    with app.app_context():
        from app import db  # noqa: PLC0415 - the name of the fixture

        assert db.session.execute("SELECT current_user, session_user").one() == (ROLE, ROLE)


def test_a_running_service_has_no_session_of_the_owner(
    serve: Callable[..., Service], new_database: str, database: psycopg.Connection[Any]
) -> None:
    service = serve(DATABASE_URL=new_database)
    made = service.post("/api/users", {"username": "ada"})
    assert made.status == 201
    assert service("PATCH", f"/api/users/{made.json['id']}", {"name": "Ada"}).status == 200
    for _ in range(20):
        assert service.get("/api/users?q=ada").status == service.get("/api/health").status == 200
    sessions = database.execute(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = %s", [urlsplit(new_database).path[1:]]
    ).fetchall()
    assert sessions == [(ROLE,)]


def test_a_new_password_of_the_owner_is_a_new_one_of_the_role(new_database: str, servers: Stack) -> None:
    name = f"second_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD 'one'")
        try:
            url = urlsplit(new_database)
            for password in ("one", "two"):
                connection.execute(sql.SQL(f"ALTER ROLE {name} PASSWORD {{}}").format(sql.Literal(password)))
                owner = url._replace(netloc=f"{name}:{password}@{url.hostname}:{url.port}").geturl()
                own = load_settings({}, database_url=owner, database_role=f"{name}_app")
                assert prepare(own)
                psycopg.connect(own.role_conninfo or "").close()
        finally:
            connection.execute(f"REASSIGN OWNED BY {name} TO postgres")
            with psycopg.connect(new_database, autocommit=True) as inside:
                inside.execute(f"DROP OWNED BY {name}_app")
                inside.execute(f"REASSIGN OWNED BY {name} TO postgres")
            connection.execute(f"DROP ROLE {name}_app")
            connection.execute(f"DROP ROLE {name}")


def test_a_database_of_an_earlier_release_gets_the_role_at_the_next_start(
    new_database: str, serve: Callable[..., Service], run_flask: Callable[..., Any]
) -> None:
    """Everything in it belongs to postgres, and it was migrated by a release that knew no role."""
    assert run_flask("db", "upgrade", "0004", DATABASE_URL=new_database).returncode == 0
    with psycopg.connect(new_database, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {ROLE}")
    service = serve(DATABASE_URL=new_database)
    assert service.post("/api/users", {"username": "ada"}).status == 201


def test_an_owner_who_may_make_roles_is_enough(
    limited_owner: Callable[[str], str], make_app: Callable[..., Flask], servers: Stack
) -> None:
    url = limited_owner("CREATEROLE")
    role = f"{urlsplit(url).username}_app"
    own = load_settings({}, database_url=url, database_role=role)
    assert prepare(own)
    assert prepare(own), "it is the same the second time"
    client = ApiClient(make_app(database_url=url, database_role=role))
    assert client.create_user(username="ada")["username"] == "ada"
    with psycopg.connect(servers.postgres.url, dbname=urlsplit(url).path[1:], autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role}")


def test_without_the_right_to_create_roles_the_service_uses_the_owner_and_warns_once(
    limited_owner: Callable[[str], str], serve: Callable[..., Service], run_flask: Callable[..., Any]
) -> None:
    url = limited_owner("NOCREATEROLE")
    service = serve(DATABASE_URL=url, DATABASE_ROLE=f"{urlsplit(url).username}_app")
    made = service.post("/api/users", {"username": "ada"})
    assert made.status == 201
    entries = service.get(f"/api/users/{made.json['id']}/history").json
    assert [entry["actor"] for entry in entries] == [None], "its own changes are not told as changes by SQL"
    (warned,) = [event for event in service.events if event["event"] == "works_as_owner"]
    assert "permission denied" in warned["cause"]
    doctor = run_flask("doctor", DATABASE_URL=url)
    assert doctor.returncode == 0, doctor.stdout
    assert "the owner of the tables" in doctor.stdout


def test_an_existing_role_is_granted_what_it_needs(
    limited_owner: Callable[[str], str], make_app: Callable[..., Flask], database: psycopg.Connection[Any]
) -> None:
    url = limited_owner("NOCREATEROLE")
    role = f"{urlsplit(url).username}_app"
    own = load_settings({}, database_url=url, database_role=role)
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{own.role_password}'")
    assert prepare(own)
    assert ApiClient(make_app(database_url=url, database_role=role)).create_user(username="ada")["username"] == "ada"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        connection.execute(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM {role}")


def test_without_a_password_of_the_owner_no_role_is_made() -> None:
    """Otherwise any client could compute its password."""
    assert load_settings({"DATABASE_URL": "postgresql://postgres@h/d"}).role_conninfo is None


def test_a_role_with_more_rights_is_not_changed(servers: Stack) -> None:
    name = f"strong_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'own' CREATEDB")
        try:
            assert not prepare(load_settings({}, database_url=servers.postgres.url, database_role=name))
            with closing(psycopg.connect(servers.postgres.url, user=name, password="own")):
                pass
        finally:
            connection.execute(f"DROP ROLE {name}")


def test_the_doctor_names_the_role(run_flask: Callable[..., Any], new_database: str) -> None:
    assert run_flask("db", "upgrade", DATABASE_URL=new_database).returncode == 0
    assert f"works as {ROLE}" in run_flask("doctor", DATABASE_URL=new_database).stdout


def test_a_backup_is_restored_where_the_role_is_not_there_yet(
    servers: Stack, new_database: str, serve: Callable[..., Service], tmp_path: Path
) -> None:
    """As docs/operations.md says: the dump has no grants, and the start makes them."""
    source, target = new_database, f"{new_database}_restored"
    service = serve(DATABASE_URL=source)
    made = service.post("/api/users", {"username": "ada"}).json
    assert service.end() == 0
    programs, dump = Path(servers.postgres.program("pg_dump")).parent, str(tmp_path / "users.dump")
    role = f"role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        name = urlsplit(target).path[1:]
        connection.execute(f"CREATE DATABASE {name}")
        try:
            for _ in range(2):
                subprocess.run([programs / "pg_dump", "-Fc", "--no-acl", "-f", dump, source], check=True)
                restore = [programs / "pg_restore", "--clean", "--if-exists", "--no-acl", "-d", target, dump]
                subprocess.run(restore, check=True)
                other = serve(DATABASE_URL=target, DATABASE_ROLE=role)
                assert other.get(f"/api/users/{made['id']}").json["username"] == "ada"
                assert other.post("/api/users", {"username": "bob"}).status == 201
                with psycopg.connect(target) as restored:
                    assert open_functions(restored) == []
                assert other.end() == 0
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            connection.execute(f"DROP ROLE {role}")


def test_functions_of_the_owner_do_what_the_role_may_not(
    api: ApiClient, as_role: psycopg.Connection[Any], database: psycopg.Connection[Any]
) -> None:
    database.execute("SELECT gin_clean_pending_list('users_by_search_vector')")
    api.create_user(username="ada")
    assert as_role.execute("SELECT gin_clean_pending_list_of_users()").fetchone() == (1,)
    assert database.execute("SELECT gin_clean_pending_list('users_by_search_vector')").fetchone() == (0,)


def test_the_role_sees_the_statistics_by_which_searches_are_planned(
    api: ApiClient, as_role: psycopg.Connection[Any], database: psycopg.Connection[Any]
) -> None:
    for number in range(20):
        api.create_user(username=f"ada{number}")
    database.execute("ANALYZE users")
    query = "SELECT attname, most_common_elems::text FROM pg_stats WHERE tablename = 'users' ORDER BY attname"
    seen = as_role.execute(query).fetchall()
    assert seen == database.execute(query).fetchall()
    assert any(lexemes for _, lexemes in seen)
