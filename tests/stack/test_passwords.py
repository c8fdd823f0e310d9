"""Passwords with any characters, from .env through the real compose file."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stack.compose import Stack, run
from tests.support.odd_passwords import odd_passwords

_ALL = "$ ' \" # @ / % é漢 ${HOME} $$ %zz [?]:&= \\n |*;`~!"
"""What the issue names, in one password."""
MIXED = [
    f"{_ALL}{'x' * (64 - len(_ALL))}",
    " 'outer' blanks & $HOME@db:1/x?y#z ",
    "".join(random.Random(22).sample(_ALL, len(_ALL))),  # noqa: S311 - it protects nothing
]


def quoted(password: str) -> str:
    """As .env.example says."""
    return "'" + password.replace("'", "\\'") + "'"


@pytest.mark.usefixtures("engine")
def test_single_quotes_in_env_keep_every_password_as_it_is(tmp_path: Path) -> None:
    env = tmp_path / "env"
    for password in odd_passwords(20):
        if "\\'" in password:
            continue
        names = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "ADMIN_PASSWORD")
        env.write_text("".join(f"{name}={quoted(password)}\n" for name in names))
        words = ("docker", "compose", "--env-file", str(env), "-f", "docker-compose.yml", "config", "--format", "json")
        # What it prints has each $ doubled, so that Compose can read it again.
        services = json.loads(run(*words).stdout.replace("$$", "$"))["services"]
        assert {services["web"]["environment"][name] for name in names} == {password}
        assert services["db"]["environment"]["POSTGRES_PASSWORD"] == password
        assert services["cache"]["environment"]["REDIS_PASSWORD"] == password
        assert services["cache"]["command"][-1] == password


@pytest.fixture(scope="module")
def odd(make_stack: Callable[..., Stack]) -> Iterator[Stack]:
    names = {"POSTGRES_USER": quoted("own er@1"), "POSTGRES_DB": quoted("us=ers/db %41")}
    passwords = {"POSTGRES_PASSWORD": quoted(MIXED[0]), "REDIS_PASSWORD": quoted(MIXED[0])}
    stack = make_stack("odd", **names, **passwords)
    stack.up("web")
    yield stack
    stack.remove()


@pytest.mark.parametrize("number", range(len(MIXED)))
def test_the_stack_works_with_these_passwords_and_shows_none(odd: Stack, number: int) -> None:
    password = MIXED[number]
    stack = odd
    if number:
        literal = password.replace("'", "''")
        stack.sql(f"SET standard_conforming_strings = on; ALTER ROLE CURRENT_USER PASSWORD '{literal}'")
        stack = odd.beside(POSTGRES_PASSWORD=quoted(password), REDIS_PASSWORD=quoted(password))
        stack("up", "-d", "--wait", "web")
    assert stack.get("/api/health").json["status"] == "ok"
    stack.make(f"someone-{number}")
    doctor = stack("exec", "-T", "web", "flask", "doctor")
    line = "from app import db, cache; print(db.session.execute('SELECT 1').scalar(), cache.ping())"
    assert stack("exec", "-T", "web", "python", "-c", line).stdout.strip() == "1 True"
    said = doctor.stdout + doctor.stderr + stack.log("web") + stack.log("db") + stack.log("cache")
    assert password not in said
