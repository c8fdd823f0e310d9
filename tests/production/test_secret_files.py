"""A start names each secret that is missing, empty, a default or not readable, and ends with 1."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.compose import ROOT, Stack, run
from tests.stack.production_stack import SECRETS, ProductionStack, write_secrets

_SCRIPT = str(ROOT / "deploy" / "check-secrets")
_READ = str(ROOT / "deploy" / "read-secret")
_NAMES = tuple(SECRETS)


def check(folder: Path) -> tuple[int, list[str]]:
    """The exit status of deploy/check-secrets, and its lines."""
    done = run("sh", _SCRIPT, str(folder), *_NAMES, check=False)
    assert not done.stdout
    return done.returncode, done.stderr.splitlines()


def write(folder: Path, name: str, content: bytes) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    (folder / name).chmod(0o644)


@pytest.mark.parametrize("form", ["{}", "{}\n", "{}\r\n", "\N{ZERO WIDTH NO-BREAK SPACE}{}\r\n"])
@pytest.mark.parametrize("secret", [*SECRETS.values(), " -n \\n%s* "])
def test_a_secret_is_read_without_a_byte_order_mark_and_a_line_end(tmp_path: Path, secret: str, form: str) -> None:
    file = tmp_path / "secret"
    file.write_text(form.format(secret), newline="")
    assert run("sh", _READ, str(file)).stdout == secret


def test_a_secret_that_is_missing_is_not_empty(tmp_path: Path) -> None:
    assert run("sh", _READ, str(tmp_path / "secret"), check=False).returncode != 0


def test_good_secrets_are_accepted(tmp_path: Path) -> None:
    assert check(write_secrets(tmp_path / "plain")) == (0, [])
    assert check(write_secrets(tmp_path / "windows", form="\N{ZERO WIDTH NO-BREAK SPACE}{}\r\n")) == (0, [])
    assert check(write_secrets(tmp_path / "bare", form="{}")) == (0, [])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"password", "is a default"),
        (b"PASSWORD\r\n", "is a default"),
        (b"changeme\n", "is a default"),
        (b"redis_password\n", "is a default"),
        (b"a few words make a good one\n", "is a default"),
        (b"one\ntwo\n", "has several lines"),
    ],
)
def test_a_bad_secret_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    folder = write_secrets(tmp_path / "secrets")
    write(folder, "redis_password", content)
    status, lines = check(folder)
    assert status == 1
    assert len(lines) == 1
    assert f"{folder}/redis_password {problem}" in lines[0]


def test_each_missing_secret_is_named(tmp_path: Path) -> None:
    folder = write_secrets(tmp_path / "secrets", {})
    status, lines = check(folder)
    assert status == 1
    assert lines == [f"Refused: the secret {folder}/{name} is missing." for name in _NAMES]


def test_a_secret_that_the_containers_cannot_read_is_named(tmp_path: Path) -> None:
    folder = write_secrets(tmp_path / "secrets")
    (folder / "owner_password").chmod(0o400)
    status, lines = check(folder)
    assert status == 1
    assert "owner_password can't be read" in lines[0]


def test_a_secret_of_another_overlay_may_be_missing_but_not_bad(tmp_path: Path) -> None:
    folder = write_secrets(tmp_path / "secrets")
    write(folder, "another_password", b"secret\n")
    status, lines = check(folder)
    assert status == 1
    assert "another_password is a default" in lines[0]


def test_a_start_with_bad_secrets_names_each_and_starts_nothing(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    folder = write_secrets(tmp_path / "secrets")
    write(folder, "postgres_password", b"password\n")
    write(folder, "redis_password", b"\n")
    stack = new_stack(
        "secrets", of=ProductionStack, SECRETS_DIR=str(folder), WEB_IMAGE="postgres:16", CADDY_IMAGE="adminer"
    )
    refused = stack("up", "-d", "--wait", "--no-build", check=False)
    assert refused.returncode == 1
    assert "check-secrets" in refused.stderr
    told = stack("logs", "--no-log-prefix", "check-secrets").stdout
    assert f"{folder}/postgres_password is a default" in told
    assert f"{folder}/redis_password is empty" in told
    assert "admin_password" not in told
    assert run("docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={stack.name}").stdout == ""


def test_a_start_without_secrets_names_one_and_the_check_names_all(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    folder = write_secrets(tmp_path / "secrets", {})
    stack = new_stack(
        "none", of=ProductionStack, SECRETS_DIR=str(folder), WEB_IMAGE="postgres:16", CADDY_IMAGE="adminer"
    )
    refused = stack("up", "-d", "--wait", "--no-build", check=False)
    assert refused.returncode == 1
    assert any(f"{folder}/{name}" in refused.stderr for name in _NAMES)
    assert run("docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={stack.name}").stdout == ""
    named = stack("run", "--rm", "-T", "check-secrets", check=False)
    assert named.returncode == 1
    assert all(f"{folder}/{name} is missing" in named.stdout + named.stderr for name in _NAMES)
