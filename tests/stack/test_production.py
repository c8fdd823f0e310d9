"""docker-compose.prod.yml, started once: passwords from files, and nothing but Caddy to be reached.

A byte order mark and CRLF around a secret are read alike by all services.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.stack.compose import Stack
from tests.stack.production_stack import ADMIN, REPLICAS, SECRETS, SITE, ProductionStack, build_caddy, write_secrets

_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""What some editors begin a file with."""
_QUOTED = "owner%2Fp%40ss%20w%25rd"


@pytest.fixture(scope="module")
def production(make_stack: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    build_caddy()
    # As an editor of Windows leaves them.
    folder = write_secrets(tmp_path_factory.mktemp("production") / "secrets", form=f"{_MARK}{{}}\r\n")
    stack = make_stack("prod", of=ProductionStack, SECRETS_DIR=str(folder))
    stack.up()
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    yield stack
    stack.remove()


def test_the_service_works_with_passwords_from_files(production: Stack) -> None:
    assert production.get("/api/health").json["status"] == "ok"
    production.make("someone")
    for replica in REPLICAS:
        assert production("exec", "-T", replica, "flask", "doctor").returncode == 0


def test_passwords_are_neither_in_settings_nor_in_arguments(production: Stack) -> None:
    for service in (*REPLICAS, "db", "cache", "caddy", "check-secrets", "own-database"):
        assert production.container(service)
        text = str(production.inspect(service))
        assert not [secret for secret in (*SECRETS.values(), _QUOTED) if secret in text]
    for service in (*REPLICAS, "db", "cache", "caddy"):
        arguments = production.sh(service, "cat /proc/[0-9]*/cmdline").stdout
        assert not [secret for secret in SECRETS.values() if secret in arguments]


def test_it_is_secured_from_the_first_request_on(production: Stack) -> None:
    assert production.get("/api/users", headers={"Cookie": ""}).status == 401
    assert production.get("/api/session").json["user"]["email"] == ADMIN


def test_a_session_that_began_under_https_is_for_https_alone(production: Stack) -> None:
    body = {"email": ADMIN, "password": SECRETS["admin_password"]}
    origin = {"Origin": f"https://{SITE}", "Cookie": ""}
    answer = production.request("POST", "/api/session", body, origin)
    assert answer.status == 201
    assert "Secure" in answer.headers["Set-Cookie"]
    connected = answer.json["session"]["address"]
    # The client can't say where it is: Caddy does.
    forged = {
        "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
        "X-Forwarded-Proto": "http",
        "Forwarded": "for=203.0.113.9",
    }
    answer = production.request("POST", "/api/session", body, forged | origin)
    assert (answer.status, answer.json["session"]["address"]) == (201, connected)
    assert "Secure" in answer.headers["Set-Cookie"]
    # It is the address that Caddy was reached from, not that of Caddy.
    network = production.inspect("caddy")["NetworkSettings"]["Networks"][f"{production.name}_proxy"]
    assert connected == network["Gateway"] != network["IPAddress"]


def test_redis_wants_its_password(production: Stack) -> None:
    assert "NOAUTH" in production.sh("cache", "redis-cli ping").stdout
    assert production.health("cache") == "healthy"


def test_adminer_is_not_there_until_it_is_asked_for(production: Stack) -> None:
    assert production.container("adminer") == ""
    production("--profile", "admin", "up", "-d", "--wait", "adminer")
    assert production.health("adminer") == "healthy"
