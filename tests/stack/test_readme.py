"""The README can be typed from top to bottom, with Docker."""

from collections.abc import Callable
from pathlib import Path

from tests.stack.compose import ENVIRON, ROOT, Stack
from tests.support import readme
from tests.support.shell import Shell


def test_the_readme_can_be_typed_from_top_to_bottom_with_docker(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    """Each command of the path with Docker succeeds, in the order in which it is printed."""
    stack = new_stack("readme")
    typed = readme.commands("With Docker")
    assert typed[0] == "docker compose up -d --wait"
    # The project's name, its ports, and no .env of whoever runs the tests.
    env = {**ENVIRON, **stack.settings, "COMPOSE_PROJECT_NAME": stack.name, "COMPOSE_ENV_FILES": "/dev/null"}
    with Shell(ROOT, env) as shell:
        readme.check(readme.walk(shell, typed, stack.settings["WEB_PORT"], tmp_path))
