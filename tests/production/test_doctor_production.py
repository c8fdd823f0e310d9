"""`flask doctor --production` in the stack of docker-compose.prod.yml: what fails before and after backups are made."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backup_stack import ROLE_PASSWORD, new_archive, new_key, remove, wait_proven

from tests.stack.compose import Stack, run
from tests.stack.production_stack import REPLICAS, SECRETS, ProductionStack, write_secrets
from tests.support.markdown import blocks

_SECRETS = {**SECRETS, "redis_password": "r \"e' d$is of the tests", "backup_password": ROLE_PASSWORD}
_OK = {
    *("database", "cache", "migrations", "role", "owner", "access", "proxies", "secrets", "site", "connections"),
    "encryption",
}


@pytest.fixture(scope="module")
def stack(
    make_stack: Callable[..., Stack],
    caddy_image: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProductionStack]:
    """The stack from nothing, without the profile backup."""
    folder = tmp_path_factory.mktemp("doctor")
    secrets = write_secrets(folder / "secrets", _SECRETS)
    archive = new_archive(folder / "backups")
    image = {"BACKUP_IMAGE": "fullstack-app-production-doctor-backup", "BACKUP_ARCHIVE_S": "1"}
    started = make_stack("doctor", of=ProductionStack, SECRETS_DIR=str(secrets), BACKUP_DIR=str(archive), **image)
    assert isinstance(started, ProductionStack)
    started.up()
    certificate = started.authority().read_text()
    for replica in REPLICAS:
        started.sh(replica, "cat >/tmp/authority.crt", input=certificate)
    yield started
    remove(started)


def doctor(
    stack: ProductionStack,
    replica: str = "web",
    authority: str = "/tmp/authority.crt",  # noqa: S108 - a tmpfs
) -> tuple[int, dict[str, set[str]], str]:
    """The exit status, the names of the checks by their results, and the output."""
    environ = ("-e", f"SSL_CERT_FILE={authority}")
    done = stack("exec", "-T", *environ, replica, "flask", "doctor", "--production", check=False)
    found: dict[str, set[str]] = {"ok": set(), "warning": set(), "failed": set()}
    for line in done.stdout.splitlines():
        name, result, _ = line.split(maxsplit=2)
        found[result].add(name)
    assert not [secret for secret in _SECRETS.values() if secret in done.stdout + done.stderr]
    return done.returncode, found, done.stdout


def test_without_backups_only_they_fail(stack: ProductionStack) -> None:
    for replica in REPLICAS:
        code, found, text = doctor(stack, replica)
        assert (code, found["warning"], found["failed"]) == (1, set(), {"backups"}), text
        assert found["ok"] >= _OK
    assert "There are no backups" in text


def test_with_a_proven_backup_nothing_fails(stack: ProductionStack) -> None:
    stack("--profile", "backup", "build", "backup", timeout=900)
    new_key(stack, Path(stack.settings["SECRETS_DIR"]) / "backup_key")
    stack("--profile", "backup", "up", "-d", "--wait")
    wait_proven(stack)
    for replica in REPLICAS:
        code, found, text = doctor(stack, replica)
        assert (code, found["warning"], found["failed"]) == (0, {"backups"}, set()), text
        assert found["ok"] >= {*_OK, "backups"}
    assert "The backups are on the disk of the database" in text


def test_the_command_of_the_docs_trusts_the_authority_of_caddy(stack: ProductionStack) -> None:
    (block,) = [one.text for one in blocks("docs/operations.md") if "cat >/tmp/authority.crt" in one.text]
    files = "docker-compose.yml:docker-compose.prod.yml"
    environ = {**stack.settings, "COMPOSE_PROJECT_NAME": stack.name, "COMPOSE_FILE": files}
    done = run("env", *(f"{name}={value}" for name, value in environ.items()), "bash", "-euo", "pipefail", "-c", block)
    assert "the certificate is valid" in done.stdout


def test_a_default_secret_fails(stack: ProductionStack) -> None:
    file = Path(stack.settings["SECRETS_DIR"]) / "admin_password"
    file.write_text("password\n")
    try:
        code, found, text = doctor(stack)
    finally:
        file.write_text(f"{_SECRETS['admin_password']}\n")
    assert (code, found["failed"]) == (1, {"secrets"})
    assert "ADMIN_PASSWORD is a default" in text


def test_a_certificate_of_an_unknown_authority_fails(stack: ProductionStack) -> None:
    code, found, text = doctor(stack, authority="/etc/ssl/certs/ca-certificates.crt")
    assert (code, found["failed"]) == (1, {"site"})
    assert "the certificate is not valid" in text
