"""The production stack with the service backup, its secrets, and an archive in a folder of this machine."""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tests.stack.compose import ROOT, Stack, run, wait_until
from tests.stack.production_stack import SECRETS, ProductionStack, write_secrets

ROLE_PASSWORD = "a password of the backups"
_UID = 999


def new_archive(folder: Path) -> Path:
    """An empty folder for backups, which the user of the containers can write to."""
    folder.mkdir()
    shutil.chown(folder, _UID, _UID)
    # The folders of pytest are for this user alone, and Docker makes no difference.
    folder.chmod(0o700)
    return folder


def start(
    make_stack: Callable[..., Stack],
    kind: str,
    folder: Path,
    *files: Path,
    secrets: Mapping[str, str] = {},
    **settings: str,
) -> ProductionStack:
    """A new project with backups in `folder`, from nothing until it serves. `folder` also has its secrets."""
    secrets_folder = write_secrets(folder / "secrets", {**SECRETS, "backup_password": ROLE_PASSWORD, **secrets})
    archive = new_archive(folder / "backups")
    stack = make_stack(
        kind,
        *files,
        of=ProductionStack,
        SECRETS_DIR=str(secrets_folder),
        BACKUP_DIR=str(archive),
        COMPOSE_PROFILES="backup",
        BACKUP_IMAGE=f"fullstack-app-production-{kind}-backup",
        BACKUP_ARCHIVE_S="1",
        **settings,
    )
    assert isinstance(stack, ProductionStack)
    stack("build", "backup", timeout=900)
    new_key(stack, secrets_folder / "backup_key")
    stack.up()
    return stack


def new_key(stack: Stack, file: Path) -> str:
    """Make a key as the docs say, and write it to `file`."""
    made = run("docker", "run", "--rm", "--entrypoint", "age-keygen", stack.settings["BACKUP_IMAGE"]).stdout
    key = next(line for line in made.splitlines() if line.startswith("AGE-SECRET-KEY-1"))
    file.unlink(missing_ok=True)
    file.write_text(f"{key}\n")
    file.chmod(0o444)
    return key


def remove(stack: Stack) -> None:
    """Leave no image of the backups behind either."""
    stack.remove()
    run("docker", "image", "rm", "-f", stack.settings["BACKUP_IMAGE"], check=False)


def status(stack: Stack) -> dict[str, Any]:
    """The status file, as the user of web reads it."""
    words = ("run", "--rm", "--user", "10001", "-v", f"{stack.name}_backup_status:/status:ro", "--entrypoint", "cat")
    return json.loads(run("docker", *words, stack.settings["BACKUP_IMAGE"], "/status/backup.json").stdout)


def files(archive: Path) -> list[Path]:
    """The files of an archive, without those that are being written."""
    return [path for path in archive.rglob("*") if path.is_file() and not path.name.startswith(".new-")]


def wait_proven(stack: Stack, seconds: float = 120) -> dict[str, Any]:
    """Wait until the newest full backup is proven. Returns the status."""

    def proven() -> dict[str, Any] | None:
        found = status(stack)
        verification = found.get("verification") or {}
        is_newest = found.get("full", {}).get("id") == verification.get("backup_id")
        return found if is_newest and verification.get("proven") else None

    return wait_until(proven, "the newest backup is proven", seconds)


def backup(stack: Stack, *words: str, **kwargs: Any) -> Any:
    """Run a command of the backups in their container."""
    return stack("exec", "-T", "backup", "backup", *words, **kwargs)


def clone(folder: Path, stack: Stack, without: Collection[str] = ()) -> Path:
    """A copy of this repository with the settings of `stack` in its .env, as an operator has it on a machine."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    settings = {
        **stack.settings,
        "COMPOSE_PROJECT_NAME": stack.name,
        "COMPOSE_FILE": "docker-compose.yml:docker-compose.prod.yml",
    }
    lines = [f"{key}={value}\n" for key, value in settings.items() if key not in without]
    (folder / ".env").write_text("".join(lines))
    return folder


def commands(heading: str) -> str:
    """The first block of shell commands under a heading of docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.split(f"\n{heading}\n", 1)[1]
    return section.split("```sh\n", 1)[1].split("```", 1)[0]
