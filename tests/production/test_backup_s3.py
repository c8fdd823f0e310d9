"""The copy of the backups in S3, in the server of moto: sent, fetched on a machine without the archive, and deleted."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backup_stack import backup, files, new_archive, remove, start, status, wait_proven

from tests.stack.compose import ROOT, Stack, run, wait_until
from tests.stack.production_stack import ADMIN, SECRETS, ProductionStack

_HERE = Path(__file__).parent
_SERVER = "fullstack-app-production-s3"
_FILES = (ROOT / "docker-compose.backup-s3.yml", _HERE / "s3.yml")
_CLIENT = (
    "import boto3; client = boto3.client('s3', endpoint_url='http://127.0.0.1:5000', region_name='us-east-1',"
    " aws_access_key_id='test-key', aws_secret_access_key='test-secret')"
)
_LIST = f"{_CLIENT}; [print(item['Key']) for item in client.list_objects_v2(Bucket='copies').get('Contents', [])]"


@pytest.fixture(scope="module")
def server(engine: None) -> Iterator[str]:  # noqa: ARG001
    """A server with the bucket "copies", in a network of its own. Returns the name of the network."""
    run("docker", "build", "-q", "-t", _SERVER, str(_HERE / "images" / "s3"), timeout=900)
    _end_server()
    run("docker", "network", "create", _SERVER)
    run("docker", "run", "-d", "--name", _SERVER, "--network", _SERVER, "--network-alias", "s3", _SERVER)
    create = f"{_CLIENT}; client.create_bucket(Bucket='copies')"
    wait_until(lambda: run("docker", "exec", _SERVER, "python", "-c", create, check=False).returncode == 0, "S3 serves")
    yield _SERVER
    _end_server()


def _end_server() -> None:
    run("docker", "rm", "-f", _SERVER, check=False)
    run("docker", "network", "rm", _SERVER, check=False)


def _copies() -> list[str]:
    return run("docker", "exec", _SERVER, "python", "-c", _LIST).stdout.split()


@pytest.fixture
def stack(
    make_stack: Callable[..., Stack],
    server: str,
    caddy_image: None,  # noqa: ARG001
    tmp_path: Path,
) -> Iterator[ProductionStack]:
    s3 = {"BACKUP_S3_BUCKET": "copies/of-users", "BACKUP_S3_ENDPOINT": "http://s3:5000", "S3_NETWORK": server}
    secrets = {"backup_s3": "test-key test-secret"}
    started = start(make_stack, "s3", tmp_path, *_FILES, secrets=secrets, BACKUP_KEEP="1", **s3)
    started.sign_in(ADMIN, SECRETS["admin_password"])
    yield started
    remove(started)


def test_a_copy_in_s3_is_enough_to_restore(stack: ProductionStack) -> None:
    wait_proven(stack)
    stack.make("in-the-copy")
    backup(stack, "flush")
    archive = Path(stack.settings["BACKUP_DIR"])
    names = {str(path.relative_to(archive)) for path in files(archive)}
    wait_until(lambda: names <= {name.removeprefix("of-users/") for name in _copies()}, "all files are sent")
    assert status(stack)["copy"]["error"] is None

    # Without S3, WAL is archived all the same, and sent later.
    run("docker", "network", "disconnect", _SERVER, _SERVER)
    stack.make("without-s3")
    backup(stack, "flush")
    wait_until(lambda: status(stack)["copy"]["error"], "the status tells of S3")
    assert status(stack)["wal"]["error"] is None
    run("docker", "network", "connect", "--alias", "s3", _SERVER, _SERVER)
    wait_until(lambda: status(stack)["copy"]["error"] is None, "S3 has the rest")

    # Old backups are deleted there, too.
    first = backup(stack, "list").stdout.split()[0]
    assert backup(stack, "now").returncode == 0
    assert not [name for name in _copies() if f"/full/{first}" in name]
    stack.make("in-the-copy-later")
    backup(stack, "flush")

    # A stop sends the rest. The disk of the database and the archive are gone.
    stack("down")
    run("docker", "volume", "rm", *(f"{stack.name}_{name}" for name in ("pgdata", "backup_work", "backup_status")))
    shutil.rmtree(archive)
    new_archive(archive)
    printed = stack("run", "--rm", "restore").stdout
    assert "to the newest state" in printed
    stack.up()
    stack.sign_in(ADMIN, SECRETS["admin_password"])
    users = {user["username"] for user in stack.get("/api/users?limit=50").json}
    assert {"in-the-copy", "without-s3", "in-the-copy-later"} <= users
