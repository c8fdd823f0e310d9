"""A backup restored on an empty machine, and on the same one, by the commands of docs/operations.md alone."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from backup_stack import backup, clone, commands, remove, status, wait_proven

from tests.stack.compose import Stack, run
from tests.stack.production_stack import ADMIN, SECRETS, ProductionStack, write_secrets

_EXAMPLE = "2026-11-30T10:00:00Z"
_FORMER = "the former words of bert"


@dataclass
class Lost:
    """A machine that is gone: what it had, a moment between two changes, and its end."""

    moment: str
    end: str
    ids: dict[str, str]
    token: dict[str, str]
    cookie: dict[str, str]
    secrets: Path
    archive: Path


@pytest.fixture(scope="module")
def lost(
    make_stack: Callable[..., Stack],
    caddy_image: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Lost:
    folder = tmp_path_factory.mktemp("lost")
    secrets = write_secrets(folder / "secrets")
    archive = tmp_path_factory.mktemp("archive")
    stack = _machine(make_stack, "lost", folder, secrets, archive)
    clone(folder, stack, without=("BACKUP_DIR", "COMPOSE_PROFILES"))
    # A stack that runs without backups gets them by the commands of the docs.
    _type(stack, "docker compose up -d --wait")
    _type(stack, commands("## Backups").replace("/mnt/backups", str(archive)))
    stack.wait_served()
    wait_proven(stack)
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    names = ("anna", "bert", "carl", "dora")
    ids = {name: stack.make(name, email=f"{name}@example.org", password=_FORMER, role="editor")["id"] for name in names}
    created = stack.request("POST", "/api/tokens", {"name": "ci", "role": "viewer", "user_id": ids["bert"]})
    assert created.status == 201
    moment = _now(stack)
    _change(stack, ids, created.json["id"])
    end = _now(stack)
    assert backup(stack, "flush").returncode == 0
    cookie = dict(stack.credential)
    remove(stack)
    return Lost(moment, end, ids, created.json, cookie, secrets, archive)


def _machine(
    make_stack: Callable[..., Stack], kind: str, folder: Path, secrets: Path, archive: Path
) -> ProductionStack:
    """A project of a repository in `folder`."""
    stack = make_stack(
        kind,
        root=folder,
        of=ProductionStack,
        SECRETS_DIR=str(secrets),
        BACKUP_DIR=str(archive),
        COMPOSE_PROFILES="backup",
        BACKUP_IMAGE=f"fullstack-app-production-{kind}-backup",
        BACKUP_ARCHIVE_S="1",
    )
    assert isinstance(stack, ProductionStack)
    return stack


def _now(stack: Stack) -> str:
    """The time by the clock of the database."""
    return stack.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")


def _change(stack: Stack, ids: dict[str, str], token_id: str) -> None:
    """What happens after the moment."""
    for method, path, body in (
        ("DELETE", f"/api/users/{ids['anna']}?purge=true", None),
        ("PATCH", f"/api/users/{ids['bert']}", {"password": "the later words of bert"}),
        ("DELETE", f"/api/tokens/{token_id}", None),
        ("PATCH", f"/api/users/{ids['carl']}", {"name": "Carl the later"}),
        ("PATCH", f"/api/users/{ids['dora']}", {"active": False}),
    ):
        assert stack.request(method, path, body).status in {200, 204}
    stack.make("too-late")


@pytest.fixture(scope="module")
def machine(
    lost: Lost, make_stack: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProductionStack, str]]:
    """Another machine after the commands of the docs, and what the restore printed."""
    folder = tmp_path_factory.mktemp("machine")
    stack = _machine(make_stack, "machine", folder, lost.secrets, lost.archive)
    clone(folder, stack)
    printed = _type(stack, commands("### On an empty machine").replace(_EXAMPLE, lost.moment))
    stack.wait_served()
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    yield stack, printed
    remove(stack)
    run("docker", "volume", "rm", "-f", f"{stack.name}_pgdata_before")
    shutil.rmtree(lost.archive)


def _type(stack: Stack, block: str) -> str:
    """Type a block of the docs in the folder of the machine. Returns what it printed."""
    block = block.replace("fullstack-app_pgdata", f"{stack.name}_pgdata")
    block = block.replace("fullstack-app-backup", stack.settings["BACKUP_IMAGE"])
    return run("bash", "-e", "-c", block, cwd=stack.root, timeout=900).stdout


def test_the_state_is_that_of_the_moment(machine: tuple[ProductionStack, str], lost: Lost) -> None:
    stack, _ = machine
    users = {user["username"]: user for user in stack.get("/api/users?limit=50").json}
    assert {"bert", "carl", "dora"} <= set(users)
    assert "too-late" not in users
    assert users["carl"]["name"] != "Carl the later"
    assert users["dora"]["active"] is True
    assert stack.get(f"/api/users/{lost.ids['carl']}").headers["ETag"] == f'"{users["carl"]["version"]}"'


def test_a_purge_since_the_moment_is_repeated(machine: tuple[ProductionStack, str], lost: Lost) -> None:
    stack, printed = machine
    anna = lost.ids["anna"]
    assert stack.get(f"/api/users/{anna}").status == 404
    assert f"Purged again, because they were purged after this state: {anna}\n" in printed
    history = f"SELECT json_agg(h ORDER BY id) FROM history AS h WHERE user_id = '{anna}'"  # noqa: S608 - an id
    entries = json.loads(stack.sql(history))
    assert entries
    assert entries[-1]["action"] == "purged"
    for entry in entries:
        values = [entry["changes"], entry["address"], entry["agent"], entry["request_id"]]
        assert values == [[], None, None, None]
    assert stack.sql("SELECT count(*) FROM identifiers WHERE key LIKE 'anna%'") == "0"


def test_sessions_have_ended(machine: tuple[ProductionStack, str], lost: Lost) -> None:
    stack, printed = machine
    assert stack.get("/api/session", headers=lost.cookie).status == 401
    assert "All sessions have ended." in printed
    assert int(stack.sql("SELECT min(session_epoch) FROM users")) >= 1000


def test_tokens_and_passwords_that_come_back_are_listed(machine: tuple[ProductionStack, str], lost: Lost) -> None:
    stack, printed = machine
    bearer = {"Authorization": f"Bearer {lost.token['token']}", "Cookie": "", "Origin": ""}
    assert stack.get("/api/users", headers=bearer).status == 200
    assert f"  {lost.token['id']}  bert  ci  viewer\n" in printed
    part = printed.split("Users whose password was changed", 1)[1]
    assert part.splitlines()[1] == f"  {lost.ids['bert']}  bert"
    part = printed.split("Users who were deactivated", 1)[1]
    assert part.splitlines()[1] == f"  {lost.ids['dora']}  dora"


def test_a_restored_database_is_backed_up_and_restored_again_on_the_same_machine(
    machine: tuple[ProductionStack, str],
) -> None:
    stack, _ = machine
    found = wait_proven(stack)
    assert found["verification"]["tables"]["users"]["rows"] == int(stack.sql("SELECT count(*) FROM users"))
    stack.make("after-the-restore")
    stack.sh("cache", 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli set left-over 1')
    printed = _type(stack, commands("### On the same machine").replace(f" AT={_EXAMPLE}", ""))
    assert "to the newest state" in printed
    stack.wait_served()
    assert stack.get("/api/session").status == 401
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    assert "after-the-restore" in {user["username"] for user in stack.get("/api/users?limit=50").json}
    left = stack.sh("cache", 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" redis-cli exists left-over')
    assert left.stdout.strip() == "0"
    assert wait_proven(stack)["verification"]["proven"] is True


def test_a_state_that_a_restore_has_given_up_can_be_restored(machine: tuple[ProductionStack, str], lost: Lost) -> None:
    stack, _ = machine
    wanted = ("run", "--rm", "restore", "restore", "--into", "/var/lib/backup/other", lost.end)
    # The newest timeline left the first one at an earlier moment.
    printed = stack(*wanted, "--timeline", "1").stdout
    newest = json.loads(printed.split("The newest entry of the history: ", 1)[1].splitlines()[0])
    assert newest["action"] == "created"
    assert "Purged again, because they were purged after this state: none\n" in printed


def test_a_restore_never_replaces_data(machine: tuple[ProductionStack, str]) -> None:
    stack, _ = machine
    for refused in (
        stack("run", "--rm", "restore", check=False),
        run("make", "restore", cwd=stack.root, check=False),
    ):
        assert refused.returncode != 0
        assert "The volume of the database is not empty" in refused.stderr
    # make has not removed Redis either.
    assert stack.get("/api/health").json["status"] == "ok"


def test_a_moment_needs_a_time_zone_and_a_backup(machine: tuple[ProductionStack, str]) -> None:
    stack, _ = machine
    into = ("run", "--rm", "restore", "restore", "--into", "/tmp")  # noqa: S108 - a folder of the container
    assert "no time zone" in stack(*into, "2026-11-30T10:00:00", check=False).stderr
    assert "No backup can be restored" in stack(*into, "2001-01-01T00:00:00Z", check=False).stderr
    assert status(stack)["format"] == 1
