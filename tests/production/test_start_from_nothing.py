"""The commands of docs/operations.md start the production stack from nothing, and move a volume of a laptop to it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.compose import ENVIRON, ROOT, Stack
from tests.stack.production_stack import ProductionStack
from tests.support.markdown import blocks

_SITE, _ADMIN = "users.example.com", "ada@example.com"
"""As in the docs."""


def block_with(text: str) -> str:
    """The block of the docs that contains this text."""
    (found,) = [block.text for block in blocks("docs/operations.md") if block.language == "sh" and text in block.text]
    return found


def type_block(block: str, folder: Path, environ: dict[str, str]) -> None:
    words = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(
        words, cwd=folder, env=ENVIRON | environ, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def machine(new_stack: Callable[..., Stack], caddy_image: None, tmp_path: Path) -> tuple[Path, Stack, dict[str, str]]:  # noqa: ARG001
    """A folder with the files of the repository, the stack there, and the variables that only tests need."""
    folder = tmp_path / "machine"
    folder.mkdir()
    for name in ("docker-compose.yml", "docker-compose.prod.yml", "deploy", "app"):
        (folder / name).symlink_to(ROOT / name)
    secrets = str(folder / "secrets")
    stack = new_stack("docs", root=folder, of=ProductionStack, SECRETS_DIR=secrets, SITE_ADDRESS=_SITE)
    of_docs = ("SITE_ADDRESS", "ADMIN_EMAIL", "SECRETS_DIR")
    environ = {name: value for name, value in stack.settings.items() if name not in of_docs}
    return folder, stack, environ | {"COMPOSE_PROJECT_NAME": stack.name}


def test_the_commands_of_the_docs_start_it(machine: tuple[Path, Stack, dict[str, str]]) -> None:
    folder, stack, environ = machine
    type_block(block_with("mkdir -m 700 secrets"), folder, environ)
    assert isinstance(stack, ProductionStack)
    stack.wait_served()
    password = (folder / "secrets" / "admin_password").read_text().strip()
    assert stack.sign_in(_ADMIN, password).json["user"]["email"] == _ADMIN
    assert oct((folder / "secrets").stat().st_mode & 0o777) == "0o700"


def test_a_volume_with_the_default_password_is_moved_to_production(
    machine: tuple[Path, Stack, dict[str, str]],
) -> None:
    folder, stack, environ = machine
    laptop = Stack(stack.name, folder / "laptop", root=folder, POSTGRES_PASSWORD="password")
    laptop.up()
    made = laptop.make("from-the-laptop")
    laptop("down")
    start = block_with("mkdir -m 700 secrets")
    before, _, up = start.partition("docker compose up")
    type_block(before, folder, environ)
    type_block(block_with("-f docker-compose.yml up -d --wait db"), folder, environ)
    type_block(f"docker compose up{up}", folder, environ)
    assert isinstance(stack, ProductionStack)
    stack.wait_served()
    stack.sign_in(_ADMIN, (folder / "secrets" / "admin_password").read_text().strip())
    assert stack.get(f"/api/users/{made['id']}").json["username"] == "from-the-laptop"
