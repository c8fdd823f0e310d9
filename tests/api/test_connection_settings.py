"""A database password with special characters works unescaped, and no program ever shows one."""

from collections.abc import Callable
from contextlib import closing
from urllib.parse import quote, urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

from app.cache.redis_client import open_client
from app.config import load_settings
from app.errors import SettingsError
from embedded import Stack
from tests.support.odd_passwords import odd_passwords
from tests.support.service_process import Service, run_program

UNESCAPED = ("@", "/", "#", "?", "[", "]", "%zz", "%", "a@b/c#d", "/@", "%00", "[::1]")
"""What a password in a URL may not hold as it is."""
BAD_URLS = {
    **{f"{name} unescaped": f"postgresql://postgres:hun{name}ter2@db:5432/usersdb" for name in UNESCAPED},
    "unknown parameter": "postgresql://postgres:hunter2@db/usersdb?hunter2=hunter2",
    "bad port": "postgresql://postgres:hunter2@db:hunter2/usersdb",
    "other scheme": "mysql://u:hunter2@h/d",
    "no URL": "hunter2",
}
PROGRAMS = {
    "the service": ("-m", "app"),
    "doctor": ("-m", "flask", "doctor"),
    "migration": ("-m", "flask", "db", "upgrade"),
    "users": ("-m", "flask", "users", "unlock", "ada"),
    "shell": ("-c", "from app import db; db.session.execute('SELECT 1')"),
    "shell with Redis": ("-c", "from app import cache; cache.ping()"),
}


def test_any_postgres_password_works_as_a_setting_or_escaped_in_the_url(servers: Stack) -> None:
    url = urlsplit(servers.postgres.url)
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE odd LOGIN")
        try:
            for password in odd_passwords(60):
                connection.execute(sql.SQL("ALTER ROLE odd PASSWORD {}").format(sql.Literal(password)))
                place = f"{url.hostname}:{url.port}{url.path}"
                escaped = f"postgresql://odd:{quote(password, safe='')}@{place}"
                apart = {"POSTGRES_USER": "odd", "POSTGRES_PASSWORD": password}
                for environ in (
                    {"DATABASE_URL": escaped},
                    {"DATABASE_URL": f"postgresql://postgres:other@{place}", **apart},
                    {"DATABASE_URL": f"postgresql://{place}?password=other&user=me", **apart},
                ):
                    psycopg.connect(load_settings(environ).database_conninfo).close()
        finally:
            connection.execute("DROP ROLE odd")


@pytest.mark.parametrize("name", ["a b", "o'dd", 'o"dd', "a=b", "postgresql://x", "пользователь", "%41", "a/b@c"])
def test_roles_and_databases_may_have_any_name(servers: Stack, name: str) -> None:
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(name)))
        try:
            given = {"POSTGRES_USER": name, "POSTGRES_PASSWORD": "x", "POSTGRES_DB": name}
            settings = load_settings({"DATABASE_URL": servers.postgres.url, **given})
            with psycopg.connect(settings.database_conninfo) as own:
                found = own.execute("SELECT current_user, current_database()").fetchone()
            assert found == (name, name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_any_redis_password_works(servers: Stack) -> None:
    try:
        with redis.Redis.from_url(servers.redis.url) as client:
            for password in odd_passwords(60):
                client.execute_command("ACL", "SETUSER", "odd", "reset", "on", f">{password}", "+@all")
                url = f"redis://odd:{quote(password, safe='')}@127.0.0.1:{servers.redis.port}"
                with closing(open_client(load_settings({"REDIS_URL": url}).redis_address, 2)) as other:
                    assert other.ping()
                client.config_set("requirepass", password)
                given = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(servers.redis.port), "REDIS_PASSWORD": password}
                with closing(open_client(load_settings(given).redis_address, 2)) as other:
                    assert other.ping()
    finally:
        with redis.Redis(port=servers.redis.port, password=password) as client:
            client.execute_command("ACL", "DELUSER", "odd")
            client.config_set("requirepass", servers.redis.password)


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS)
def test_a_url_of_postgres_that_can_not_be_read_gets_one_sentence_without_any_of_it(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: [^;\n]+$") as refused:
        load_settings({"DATABASE_URL": url})
    for part in ("hun", "ter2"):
        assert part not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("password", ["p@x", "p/x", "p#x", "p?x", "p[x", "p]x"])
def test_a_url_of_redis_that_can_not_be_read_gets_one_sentence_without_any_of_it(password: str) -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_URL: [^;\n]+$") as refused:
        load_settings({"REDIS_URL": f"redis://:hunter2{password}@cache:6379/0"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_shows_any_of_a_url_that_can_not_be_read(program: str) -> None:
    done = run_program(*PROGRAMS[program], DATABASE_URL="postgresql://postgres:hun%zz[ter2@db:5432/usersdb")
    assert done.returncode != 0
    assert "DATABASE_URL" in done.stderr
    for part in ("hun", "ter2"):
        assert part not in done.stdout + done.stderr
    if not program.startswith("shell"):
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_shows_a_password_that_is_refused(program: str, servers: Stack) -> None:
    secrets = {"POSTGRES_PASSWORD": "hunter2@/#%zz '[", "REDIS_PASSWORD": "hunter3@/#%zz '["}
    place = {"DATABASE_URL": servers.postgres.url, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(servers.redis.port)}
    done = run_program(*PROGRAMS[program], **place, **secrets)
    assert done.returncode != 0
    assert "hunter" not in done.stdout + done.stderr
    assert servers.postgres.password not in done.stdout + done.stderr
    if not program.startswith("shell"):
        assert "Traceback" not in done.stderr


def test_settings_show_no_secret_when_they_are_printed() -> None:
    secrets = {"POSTGRES_PASSWORD": "hunter2", "REDIS_PASSWORD": "hunter3", "ADMIN_PASSWORD": "hunter4"}
    urls = {"DATABASE_URL": "postgresql://u:hunter5@h/d", "REDIS_URL": "redis://:hunter6@h"}
    settings = load_settings({**secrets, **urls, "ADMIN_EMAIL": "ada@example.org"})
    assert "hunter" not in f"{settings!r} {settings} {settings.database_address}"


def test_the_service_starts_with_an_administrator_whose_password_has_outer_blanks(
    serve: Callable[..., Service], new_database: str
) -> None:
    password = "  a few words 'and' $more  "
    admin = {"ADMIN_EMAIL": "ada@example.org", "ADMIN_PASSWORD": password}
    service = serve(DATABASE_URL=new_database, WORKERS="1", **admin)
    body = {"email": "ada@example.org", "password": password}
    origin = {"Origin": f"http://127.0.0.1:{service.port}"}
    assert service.post("/api/session", body, headers=origin).status == 201
    assert service.post("/api/session", {**body, "password": password.strip()}, headers=origin).status == 401
