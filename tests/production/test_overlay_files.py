"""What docker-compose.prod.yml says, without starting anything."""

import pytest

from tests.stack.compose import run

_FILES = ("-f", "docker-compose.yml", "-f", "docker-compose.prod.yml")

pytestmark = pytest.mark.usefixtures("engine")


def test_production_wants_the_address_of_an_administrator() -> None:
    refused = run("docker", "compose", "--env-file", "/dev/null", *_FILES, "config", check=False)
    assert refused.returncode != 0
    assert "ADMIN_EMAIL" in refused.stderr
