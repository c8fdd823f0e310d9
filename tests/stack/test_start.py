"""From nothing to healthy, two at once, and what does not start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.compose import SERVICES, Stack, run, wait_until

HERE = Path(__file__).parent


def test_the_stack_is_healthy_within_half_a_minute_from_nothing(started: tuple[Stack, float]) -> None:
    stack, seconds = started
    assert seconds < 30
    # It was healthy then (`up --wait` says so); a test before this one may have broken a service since.
    wait_until(lambda: {stack.health(service) for service in SERVICES} == {"healthy"}, "all are healthy again")
    answer = stack.get("/api/health")
    assert answer.status == 200
    assert answer.json["status"] == "ok"


def test_the_first_request_after_the_wait_is_served(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack("first")
    stack.up("web")
    assert stack.make("first")["version"] == 1


def test_two_replicas_that_start_at_once_migrate_once_and_both_serve(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack("twins", HERE / "twins.yml")
    stack.up("db", "cache")
    stack.sql("ALTER SYSTEM SET log_statement = ddl")
    stack.sql("SELECT pg_reload_conf()")
    wait_until(lambda: stack.sql("SHOW log_statement") == "ddl", "PostgreSQL logs what makes tables")
    stack("up", "-d", "--wait", "--scale", "web=2", "web")
    replicas = stack.container("web").split()
    assert len(replicas) == 2
    for replica in replicas:
        logs = run("docker", "logs", replica)
        assert '"event":"serving"' in logs.stderr
        assert '"level":"error"' not in logs.stderr
    assert stack.log("db").count("CREATE TABLE users") == 1
    assert "ERROR" not in stack.log("db")
    assert len(stack.sql("SELECT version_num FROM alembic_version").split()) == 1


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "[::]"])  # noqa: S104 - nothing listens there
def test_published_wider_without_an_administrator_it_refuses_to_start_and_says_how(stack: Stack, address: str) -> None:
    refused = stack.beside(PUBLISHED_ADDRESS=address)("run", "--rm", "--no-deps", "-T", "web", check=False, timeout=60)
    assert refused.returncode != 0
    for name in (f"PUBLISHED_ADDRESS={address}", "ADMIN_EMAIL", "ADMIN_PASSWORD"):
        assert name in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_administrator_without_a_password_is_refused_at_once(stack: Stack) -> None:
    half = stack.beside(ADMIN_EMAIL="ada@example.org")
    refused = half("run", "--rm", "--no-deps", "-T", "web", check=False, timeout=60)
    assert refused.returncode != 0
    assert "ADMIN_PASSWORD" in refused.stderr


def test_the_image_alone_does_not_serve_before_it_is_told_where_it_is_published(stack: Stack) -> None:
    image, network = stack.inspect("web")["Image"], f"{stack.name}_database"
    refused = run("docker", "run", "--rm", "--network", network, image, check=False, timeout=60)
    assert refused.returncode != 0
    assert "PUBLISHED_ADDRESS" in refused.stderr


def test_a_wrong_setting_is_named_at_start(stack: Stack) -> None:
    refused = stack.beside(CACHE_TTL_S="soon")("run", "--rm", "--no-deps", "-T", "web", check=False, timeout=60)
    assert refused.returncode != 0
    assert "CACHE_TTL_S" in refused.stderr


def test_a_database_that_never_comes_ends_the_start_with_the_cause(stack: Stack) -> None:
    nowhere = stack.beside(DATABASE_WAIT_S="3", DATABASE_URL="postgresql://me:secret@192.0.2.1/none")
    ended = nowhere("run", "--rm", "--no-deps", "-T", "web", check=False, timeout=90)
    assert ended.returncode != 0
    assert "192.0.2.1" in ended.stderr
    assert "secret" not in ended.stderr


def test_other_containers_of_its_network_call_it_web(stack: Stack) -> None:
    script = "from urllib.request import urlopen; print(urlopen('http://web:5000/users', timeout=9).status)"
    network, image = f"{stack.name}_default", stack.inspect("web")["Image"]
    assert run("docker", "run", "--rm", "--network", network, image, "python", "-c", script).stdout.strip() == "200"
