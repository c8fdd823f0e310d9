"""docker-compose.prod.yml, started once: passwords from files, and nothing but web to be reached.

A byte order mark and CRLF around a secret are read alike by web, db and cache.
"""

from collections.abc import Callable, Iterator

import pytest
from compose import ROOT, Stack

_PASSWORD, _QUOTED = 'p@ss/w"d', "p%40ss%2Fw%22d"
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""What some editors begin a file with."""
_REDIS = "r \"e' d$is"
_ADMIN = "an \"odd' pa$$phrase"


@pytest.fixture(scope="module")
def production(make_stack: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("secrets")
    secrets = {
        "postgres_password": _PASSWORD,
        "redis_password": _REDIS,
        "admin_password": _ADMIN,
    }
    for name, value in secrets.items():
        # As an editor of Windows leaves it.
        (folder / name).write_bytes(f"{_MARK}{value}\r\n".encode())
        (folder / name).chmod(0o444)
    settings = {"ADMIN_EMAIL": "ada@example.org", "TRUSTED_PROXIES": "172.16.0.0/12,192.168.0.0/16"}
    stack = make_stack("prod", ROOT / "docker-compose.prod.yml", SECRETS_DIR=str(folder), **settings)
    stack.up()
    stack.sign_in("ada@example.org", _ADMIN)
    yield stack
    stack.remove()


def test_the_service_works_with_passwords_from_files(production: Stack) -> None:
    assert production.get("/api/health").json["status"] == "ok"
    production.make("someone")
    assert production("exec", "-T", "web", "flask", "doctor").returncode == 0


def test_passwords_are_neither_in_settings_nor_in_arguments(production: Stack) -> None:
    for service in ("web", "db", "cache"):
        inspected = production("ps", "-q", service).stdout.strip()
        assert inspected
        text = str(production.inspect(service))
        assert _PASSWORD not in text
        assert _QUOTED not in text
        assert _REDIS not in text
        assert _ADMIN not in text
        arguments = production.sh(service, "cat /proc/[0-9]*/cmdline").stdout
        assert _REDIS not in arguments


def test_it_is_secured_from_the_first_request_on(production: Stack) -> None:
    assert production.get("/api/users", headers={"Cookie": ""}).status == 401
    assert production.get("/api/session").json["user"]["email"] == "ada@example.org"


def test_a_session_that_began_under_https_is_for_https_alone(production: Stack) -> None:
    body = {"email": "ada@example.org", "password": _ADMIN}
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "users.example.org"}
    origin = {"Origin": "https://users.example.org", "Cookie": ""}
    answer = production.request("POST", "/api/session", body, {**forwarded, **origin})
    assert answer.status == 201
    assert "Secure" in answer.headers["Set-Cookie"]
    forwarded["X-Forwarded-For"] = "203.0.113.9, 198.51.100.7"
    answer = production.request("POST", "/api/session", body, {**forwarded, **origin})
    assert answer.json["session"]["address"] == "198.51.100.7"


def test_redis_wants_its_password(production: Stack) -> None:
    assert "NOAUTH" in production.sh("cache", "redis-cli ping").stdout
    assert production.health("cache") == "healthy"


def test_adminer_is_not_there_until_it_is_asked_for(production: Stack) -> None:
    assert production.container("adminer") == ""
    production("--profile", "admin", "up", "-d", "--wait", "adminer")
    assert production.health("adminer") == "healthy"
