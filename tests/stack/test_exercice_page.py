"""Every command of docs/exercice.md works as printed, and so does the minimal version that it teaches."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.ports import free_port
from tests.stack.compose import ENVIRON, ROOT, Stack
from tests.support.markdown import blocks, console_commands
from tests.support.shell import Shell

PAGE = "docs/exercice.md"
REFUSED = "docker-compose run --rm -e CACHE_TTL_S=abc web"
SHOWN = {
    "docker-compose ps": "(healthy)",
    "docker inspect fullstack-app-web-1 | grep Health": '"Healthcheck": {',
    "docker-compose exec web python": "CursorResult",
    "docker-compose exec web flask doctor": "migrations",
    "curl http://localhost:5000/users": "Alan",
    REFUSED: "CACHE_TTL_S: Input should be a valid integer",
}
"""What the page says that a command prints."""


def test_every_command_of_the_page_works_in_its_order(new_stack: Callable[..., Stack]) -> None:
    """Typed one after the other, each succeeds and prints what the page says."""
    stack = new_stack("exercice")
    env = {**ENVIRON, **stack.settings, "COMPOSE_PROJECT_NAME": stack.name, "COMPOSE_ENV_FILES": "/dev/null"}
    health = []
    with Shell(ROOT, env) as shell:
        for command, lines in console_commands(PAGE):
            text = command.replace("localhost:5000", f"localhost:{stack.settings['WEB_PORT']}")
            text = text.replace("fullstack-app-web-1", f"{stack.name}-web-1")
            if shutil.which("docker-compose") is None:
                text = text.replace("docker-compose", "docker compose")
            output, status = shell.type(text, [(">>> ", line) for line in lines])
            assert (status == 0) == (command != REFUSED), f"{command}\n{output}"
            assert SHOWN.get(command, "") in output, command
            if "/api/health" in command:
                health += re.findall(r'^\{"status":"(\w+)"', output, re.MULTILINE)
    assert health == ["ok", "degraded"]


@pytest.fixture
def minimal(new_stack: Callable[..., Stack], tmp_path: Path) -> Stack:
    """The application that steps 2 and 3 teach, in a folder of its own and on free ports."""
    for block in blocks(PAGE):
        names = re.findall(r"`(app/[\w.]+|docker-compose\.yml)`", block.before)
        name = names[0] if names else {"yaml": "docker-compose.yml", "python": "app/routes.py"}.get(block.language)
        if name is None or (block.language in ("console", "text") and not name.endswith("requirements.txt")):
            continue
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text)
    file = tmp_path / "docker-compose.yml"
    file.write_text(re.sub(r'"(\d+):\1"', lambda port: f'"127.0.0.1:{free_port()}:{port[1]}"', file.read_text()))
    stack = new_stack("minimal", root=tmp_path)
    stack.settings["WEB_PORT"] = re.findall(r"127\.0\.0\.1:(\d+):5000", file.read_text())[0]
    return stack


def test_the_minimal_version_of_the_page_is_a_complete_application(minimal: Stack) -> None:
    """It builds, becomes healthy, and creates, reads, changes and deletes."""
    minimal.up()
    base = f"http://localhost:{minimal.settings['WEB_PORT']}"
    alan = """-H 'Content-Type: application/json' -d '{"name": "Alan", "email": "alan@example.com"}'"""
    with Shell(minimal.root, ENVIRON) as shell:
        created = shell.type(f"curl -s {base}/users {alan}")
        assert '"id":1' in created.output.replace(" ", ""), created
        assert "Alan" in shell.type(f"curl -s {base}/users").output
        changed = shell.type(f"curl -s -X PUT {base}/users/1 {alan.replace('Alan', 'Turing')}")
        assert "Turing" in changed.output
        assert "Turing" in shell.type(f"curl -s {base}/users/1").output
        assert shell.type(f"curl -s -X DELETE {base}/users/1").status == 0
        assert shell.type(f"curl -s {base}/users").output.strip() == "[]"
    assert minimal.health("web") == "healthy"
