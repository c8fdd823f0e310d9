"""`make upgrade`: moves the data of `make run` to another major version of PostgreSQL, by a dump of the database."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from embedded.errors import ServerError
from embedded.postgres import Postgres

_COMPLETE = "complete"


def upgrade(folder: Path, version: int, say: Callable[[str], None]) -> None:
    """Move the data in `folder` to `version`. The former data stay beside it, as `postgres-VERSION`.

    It can be repeated after an interruption. Raises: ServerError
    """
    data, work = folder / "postgres", folder / "upgrade"
    if not (work / _COMPLETE).exists():
        found = _version_of(data)
        if found == version:
            say(f"{data} has data of PostgreSQL {version} already")
            return
        if found > version:
            raise ServerError(f"{data} has data of PostgreSQL {found}, which version {version} can't read")
        if _kept(folder, found).exists():
            raise ServerError(f"{_kept(folder, found)} is there from an earlier upgrade. Move it away first")
        say(f"Moving the data in {data} from PostgreSQL {found} to {version}")
        shutil.rmtree(work, ignore_errors=True)
        _copy(Postgres(data, found), Postgres(work / "postgres", version), work / "users.dump")
        (work / _COMPLETE).write_text(str(found))
    found = int((work / _COMPLETE).read_text())
    _swap(data, work / "postgres", _kept(folder, found))
    shutil.rmtree(work)
    say(f"Done. {_kept(folder, found)} has the former data; delete it when all is right")


def _kept(folder: Path, version: int) -> Path:
    return folder / f"postgres-{version}"


def _version_of(data: Path) -> int:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        raise ServerError(f"{data} has no data: make run creates them") from None


def _copy(old: Postgres, new: Postgres, dump: Path) -> None:
    """Copy the database, without the rights of roles: the start of the service grants them."""
    with old, new:
        # pg_dump of the newer version, as the manual recommends.
        _run([new.program("pg_dump"), "--format=custom", "--no-acl", f"--file={dump}"], old)
        _run([new.program("pg_restore"), "--no-acl", "--exit-on-error", "--dbname=usersdb", str(dump)], new)
        _run([new.program("vacuumdb"), "--analyze-only", "--quiet"], new)
    dump.unlink()


def _run(command: list[str], server: Postgres) -> None:
    address = urlsplit(server.url)
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
        "PGHOST": address.hostname or "",
        "PGPORT": str(address.port),
        "PGDATABASE": address.path[1:],
        "PGUSER": address.username or "",
        "PGPASSWORD": address.password or "",
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{Path(command[0]).name} failed, and the data are as before:\n{done.stderr}")


def _swap(data: Path, new: Path, kept: Path) -> None:
    """Put the new data in the place of the former ones. Each step is done once, also after an interruption."""
    for suffix in ("", ".password"):
        present, fresh, former = (path.with_name(f"{path.name}{suffix}") for path in (data, new, kept))
        if fresh.exists():
            if present.exists():
                present.rename(former)
            fresh.rename(present)
