"""The command `flask doctor`: setup mode, public addresses, unsafe settings, a missing database."""

import re
from collections.abc import Callable

import pytest
from click.testing import Result
from flask import Flask

from tests.support.command_calls import PASSWORD, ada


def test_the_doctor_reports_setup_mode(flask: Callable[..., Result]) -> None:
    found = finding(flask("doctor"), "access")
    assert "warning" in found
    assert "setup mode: anyone who can reach 127.0.0.1 may do everything" in found
    ada(flask)
    found = finding(flask("doctor"), "access")
    assert "ok" in found
    assert "secured: 1 administrator can sign in" in found


def test_the_doctor_fails_a_public_service_without_an_administrator(
    make_app: Callable[..., Flask], flask: Callable[..., Result]
) -> None:
    public = make_app(published_address="0.0.0.0").test_cli_runner()  # noqa: S104 - nothing listens
    done = public.invoke(args=["doctor"])
    assert done.exit_code == 1
    assert "failed   published on 0.0.0.0 without an administrator" in done.output
    ada(flask)
    done = public.invoke(args=["doctor"])
    assert done.exit_code == 0
    assert "without TRUSTED_PROXIES: passwords and cookies are sent unencrypted" in done.output


def test_the_doctor_warns_of_unsafe_settings(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_EMAIL", "ada@example.org")
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    doubtful = make_app(trusted_proxies="0.0.0.0/0", write_rate_per_minute=0, cache_ttl_s=0, log_level="debug")
    output = doubtful.test_cli_runner().invoke(args=["doctor"]).output
    for name in ("TRUSTED_PROXIES", "WRITE_RATE_PER_MINUTE", "CACHE_TTL_S", "LOG_LEVEL", "ADMIN_PASSWORD"):
        assert re.search(rf"^settings +warning  {name}", output, re.MULTILINE), output
    assert PASSWORD not in output


def finding(doctor: Result, name: str) -> str:
    """A line of the doctor's."""
    return next(line for line in doctor.output.splitlines() if line.startswith(name))


def test_without_a_database_a_command_reports_the_outage(make_app: Callable[..., Flask]) -> None:
    away = make_app(database_url="postgresql://me:secret@127.0.0.1:1/none")
    done = away.test_cli_runner().invoke(args=["tokens", "list"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The database is unavailable")
    for option in ([], ["--production"]):
        doctor = away.test_cli_runner().invoke(args=["doctor", *option])
        assert doctor.exit_code == 1
        assert "secret@" not in doctor.output
        assert "me:secret" not in doctor.output
        assert "Traceback" not in doctor.output
        assert not isinstance(doctor.exception, Exception)
