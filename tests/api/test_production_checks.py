"""`flask doctor --production`: what is good enough for a laptop fails in production."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from psycopg.conninfo import conninfo_to_dict

from app.cli import production_checks
from embedded import Stack
from tests.support.backup_files import ago, write_status
from tests.support.command_calls import ada

_GOOD = "0f3c9a61e7d24b58a1c6"


@pytest.fixture
def run_plain(make_app: Callable[..., Flask], flask: Callable[..., Result]) -> Callable[..., Result]:
    """Run `flask doctor` and further words on a service with these settings, which has an administrator."""
    ada(flask)

    def run(*words: str, **settings: Any) -> Result:
        return make_app(**settings).test_cli_runner().invoke(args=["doctor", *words])

    return run


@pytest.fixture
def doctor(run_plain: Callable[..., Result]) -> Callable[..., Result]:
    """The same with --production."""
    return partial(run_plain, "--production")


def findings(done: Result, name: str, result: str = "failed") -> list[str]:
    """The explanations of a check with this result."""
    lines = [line.split(maxsplit=2) for line in done.output.splitlines()]
    return [text for found, verdict, text in lines if (found, verdict) == (name, result)]


def test_it_fails_what_the_plain_doctor_warns_of(
    run_plain: Callable[..., Result], doctor: Callable[..., Result]
) -> None:
    unsafe = {"log_level": "debug", "backup_status_file": "/nowhere/backup.json"}
    plain, strict = run_plain(**unsafe), doctor(**unsafe)
    for name, text in (("settings", "LOG_LEVEL=debug"), ("backups", "There are no backups")):
        assert any(text in found for found in findings(plain, name, "warning"))
        assert any(text in found for found in findings(strict, name, "failed"))
    assert (plain.exit_code, strict.exit_code) == (0, 1)


def test_a_service_without_an_administrator_fails(make_app: Callable[..., Flask], flask: Callable[..., Result]) -> None:
    assert flask("doctor").exit_code == 0
    done = make_app().test_cli_runner().invoke(args=["doctor", "--production"])
    assert "setup mode" in findings(done, "access")[0]


@pytest.mark.parametrize(
    ("networks", "problem"),
    [
        ("", "TRUSTED_PROXIES is empty"),
        ("172.16.0.0/12", "172.16.0.0/12, addresses of other containers"),
        ("10.213.77.0/28,172.18.0.0/16", "172.18.0.0/16, addresses of other containers"),
        ("0.0.0.0/0", "0.0.0.0/0, addresses of other containers"),
        ("10.0.0.0/8", "10.0.0.0/8, so too many machines"),
        ("::/0", "::/0, so too many machines"),
    ],
)
def test_proxies_that_are_too_many_fail(doctor: Callable[..., Result], networks: str, problem: str) -> None:
    assert problem in findings(doctor(trusted_proxies=networks), "proxies")[0]


@pytest.mark.parametrize("networks", ["10.213.77.0/28", "172.18.0.1", "127.0.0.0/8", "fd00:1::/64"])
def test_a_proxy_or_a_small_network_is_good(doctor: Callable[..., Result], networks: str) -> None:
    assert findings(doctor(trusted_proxies=networks), "proxies") == []


def test_a_superuser_as_owner_fails(doctor: Callable[..., Result]) -> None:
    (problem,) = findings(doctor(), "owner")
    assert "is a superuser" in problem


@pytest.mark.parametrize(
    "secret",
    ["password", "short", "fullstack-app", "Administrator", "admin_password", "aaaaaaaaaaaaaaaa", "passwordpassword"],
)
def test_a_weak_secret_fails_and_is_not_printed(doctor: Callable[..., Result], secret: str) -> None:
    done = doctor(admin_email="grace@example.org", admin_password=secret)
    (problem,) = [text for text in findings(done, "secrets") if text.startswith("ADMIN_PASSWORD")]
    assert "is a default, or has less than 12 characters, or less than 8 different ones" in problem
    if secret not in ("password", "short", "admin_password"):
        assert secret not in done.output


# The ids have no secret: pytest puts them into the environment.
@pytest.mark.parametrize(
    "text",
    [_GOOD, f"redis://:{_GOOD}@cache:6379/0", f"redis://:%30{_GOOD[1:]}@cache"],
    ids=["alone", "in a URL", "escaped"],
)
def test_a_secret_in_the_environment_fails_and_is_not_printed(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    given = {"admin_email": "grace@example.org", "admin_password": _GOOD}
    assert not any("ADMIN_PASSWORD" in problem for problem in findings(doctor(**given), "secrets"))
    monkeypatch.setenv("SOMETHING", text)
    done = doctor(**given)
    assert "`docker inspect` shows the secret in SOMETHING: use ADMIN_PASSWORD_FILE" in findings(done, "secrets")
    assert _GOOD not in done.output


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("POSTGRES_PASSWORD", {"database_url": "postgresql://app@127.0.0.1:1/u"}),
        ("REDIS_PASSWORD", {"redis_url": "redis://127.0.0.1:1/0", "redis_password": _GOOD}),
    ],
)
def test_a_server_without_a_password_fails(doctor: Callable[..., Result], name: str, settings: dict[str, str]) -> None:
    assert any(f"{name} is missing" in problem for problem in findings(doctor(**settings), "secrets"))
    assert not any("is missing" in problem for problem in findings(doctor(), "secrets"))


@pytest.mark.parametrize(
    ("settings", "check", "word"),
    [
        ({"trusted_proxies": "0.0.0.0/0"}, "proxies", "TRUSTED_PROXIES"),
        ({"trusted_proxies": "::/0"}, "proxies", "TRUSTED_PROXIES"),
        ({"published_address": "192.0.2.1", "trusted_proxies": ""}, "proxies", "TRUSTED_PROXIES"),
        ({"database_url": "postgresql://app:password@127.0.0.1:1/u"}, "secrets", "PASSWORD"),
        ({"admin_email": "grace@example.org", "admin_password": _GOOD}, "secrets", "ADMIN_PASSWORD"),
        ({"log_level": "debug"}, "settings", "LOG_LEVEL"),
    ],
    ids=["all proxies", "all proxies of IPv6", "no proxies", "public password", "environment", "debug"],
)
def test_a_problem_is_reported_once(
    doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], check: str, word: str
) -> None:
    for name in ("admin_email", "admin_password"):
        if name in settings:
            monkeypatch.setenv(name.upper(), settings[name])
    defaults = {"trusted_proxies": "10.213.77.0/28"}
    lines = [line.split(maxsplit=2) for line in doctor(**defaults | settings).output.splitlines()]
    assert [name for name, result, text in lines if result != "ok" and word in text.split(":")[0].upper()] == [check]


def test_settings_that_are_only_unusual_are_warnings(doctor: Callable[..., Result]) -> None:
    done = doctor(cache_ttl_s=0, write_rate_per_minute=0)
    assert [text.partition("=")[0] for text in findings(done, "settings", "warning")] == [
        "CACHE_TTL_S",
        "WRITE_RATE_PER_MINUTE",
    ]
    assert findings(done, "settings") == []


def test_a_site_without_a_name_fails(doctor: Callable[..., Result]) -> None:
    assert "SITE_ADDRESS is not set" in findings(doctor(), "site")[0]


def test_the_problems_of_the_site_fail(doctor: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(production_checks, "site_problems", lambda *names: asked.append(names) or ["it is old"])
    assert findings(doctor(site_address="users.example.test"), "site") == ["it is old"]
    assert asked[0][0] == "users.example.test"


def test_more_connections_than_postgresql_accepts_fail(doctor: Callable[..., Result]) -> None:
    assert findings(doctor(replicas=1, workers=1), "connections") == []
    (problem,) = findings(doctor(replicas=2, workers=4, database_pool_size=10), "connections")
    assert "may open 138 connections, and PostgreSQL accepts 97" in problem
    assert "set DATABASE_POOL_SIZE to 6 or less, or set max_connections to 141 or more" in problem
    assert findings(doctor(replicas=2, workers=4, database_pool_size=6), "connections") == []
    (problem,) = findings(doctor(replicas=50, workers=4), "connections")
    assert "use fewer WORKERS" in problem


def test_plain_connections_to_other_machines_are_a_warning(doctor: Callable[..., Result], servers: Stack) -> None:
    assert findings(doctor(), "encryption", "ok")
    done = doctor(redis_url="redis://redis.example.test:6379/0")
    assert "Redis at redis.example.test is not encrypted" in findings(done, "encryption", "warning")[0]
    assert findings(doctor(redis_url="rediss://redis.example.test:6379/0"), "encryption", "ok")
    assert findings(doctor(redis_url="redis://cache:6379/0"), "encryption", "ok")
    parts = conninfo_to_dict(servers.postgres.url)
    place = f"this.is.elsewhere:{parts['port']}/{parts['dbname']}?hostaddr=127.0.0.1"
    away = f"postgresql://{parts['user']}:{parts['password']}@{place}"
    assert "PostgreSQL at this.is.elsewhere" in findings(doctor(database_url=away), "encryption", "warning")[0]


def test_the_state_of_backups_is_reported(
    run_plain: Callable[..., Result], doctor: Callable[..., Result], tmp_path: Path
) -> None:
    assert findings(doctor(), "backups", "warning")[0].startswith("unknown")
    assert "backups" not in run_plain().output
    file = tmp_path / "backup.json"
    good = doctor(backup_status_file=write_status(file))
    assert findings(good, "backups", "ok")[0].startswith("proven at 20")
    same = doctor(backup_status_file=write_status(file, same_disk=True))
    assert "on the disk of the database" in findings(same, "backups", "warning")[0]
    assert findings(same, "backups") == []
    old = write_status(file, failure={"at": ago(hours=1), "reason": "no space"})
    assert findings(doctor(backup_status_file=old), "backups") == ["The last full backup failed: no space."]
