"""The commands of docs/operations.md that change a secret lose no request, and the earlier secret is refused."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from load import create_token, load

from tests.stack.compose import ENVIRON, ROOT, Stack, run, wait_until
from tests.stack.production_stack import ADMIN, SECRETS, ProductionStack, write_secrets
from tests.support.markdown import blocks

pytestmark = pytest.mark.timeout(1200)


class Machine(NamedTuple):
    """A folder as an operator has it: the files of the repository, .env and secrets; and its stack."""

    folder: Path
    stack: ProductionStack
    token: str

    def type(self, begin: str) -> None:
        """Run the block of the docs that follows a text with this beginning."""
        (block,) = [each.text for each in blocks("docs/operations.md") if found(each.text, each.before, begin)]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env=ENVIRON,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()


def found(text: str, before: str, begin: str) -> bool:
    """Whether the block belongs to the secret: the text before it begins with its name, or it writes into its file."""
    return before.startswith(begin) or f" > secrets/{begin.strip('`')}\n" in text


@pytest.fixture(scope="module")
def machine(
    make_stack: Callable[..., Stack],
    caddy_image: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    for name in ("docker-compose.yml", "docker-compose.prod.yml", "deploy", "app"):
        (folder / name).symlink_to(ROOT / name)
    secrets = write_secrets(folder / "secrets")
    stack = make_stack("secret", root=folder, of=ProductionStack, SECRETS_DIR=str(secrets), WRITE_RATE_PER_MINUTE="0")
    assert isinstance(stack, ProductionStack)
    files = "docker-compose.yml:docker-compose.prod.yml"
    project = {"COMPOSE_PROJECT_NAME": stack.name, "COMPOSE_FILE": files}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in (stack.settings | project).items()))
    stack.up()
    return Machine(folder, stack, create_token(stack, "secrets"))


def redis_says(stack: ProductionStack, password: str) -> str:
    """The answer of Redis to a client with this password."""
    return stack.sh("cache", 'REDISCLI_AUTH="$(cat)" redis-cli ping', input=password).stdout.strip()


def postgres_accepts(stack: ProductionStack, user: str, password: str) -> bool:
    """Whether PostgreSQL accepts the password over the network."""
    program = f'PGPASSWORD="$(cat)" psql -qtAX -h "$(hostname -i)" -U {user} -d "$POSTGRES_DB" -c "SELECT 1"'
    return stack.sh("db", program, input=password, check=False).returncode == 0


def test_the_password_of_redis(machine: Machine) -> None:
    stack = machine.stack
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    with load(stack, machine.token, with_keys=False):
        machine.type("`redis_password`")
    assert machine.secret("redis_password") != SECRETS["redis_password"]
    assert redis_says(stack, machine.secret("redis_password")) == "PONG"
    assert "NOAUTH" in redis_says(stack, SECRETS["redis_password"])
    # Sessions are still there, and a restart of Redis uses the new password.
    assert stack.get("/api/session").status == 200
    stack("restart", "cache")
    stack("up", "-d", "--wait", "cache")
    stack.wait_for_health("ok")


def test_the_password_of_the_owner(machine: Machine) -> None:
    stack = machine.stack
    with load(stack, machine.token, with_keys=False):
        machine.type("`owner_password`")
    assert postgres_accepts(stack, "fullstack_app_owner", machine.secret("owner_password"))
    assert not postgres_accepts(stack, "fullstack_app_owner", SECRETS["owner_password"])
    roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'fullstack%'"
    assert stack.sql(roles) == "fullstack_app_2 fullstack_app_owner"
    sessions = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'fullstack-app'"
    # The start and the commands use the owner for a moment.
    wait_until(lambda: stack.sql(sessions) == "fullstack_app_2", "the service uses its new role alone")


def test_the_password_of_the_superuser(machine: Machine) -> None:
    stack = machine.stack
    with load(stack, machine.token, with_keys=False):
        machine.type("`postgres_password`")
    assert postgres_accepts(stack, "postgres", machine.secret("postgres_password"))
    assert not postgres_accepts(stack, "postgres", SECRETS["postgres_password"])
    # The next start of the stack uses it.
    run("docker", "compose", "up", "-d", "--wait", cwd=machine.folder)
    assert stack.get("/api/health").json["status"] == "ok"
