"""Measures a start with Docker: the compose file as a separate project with its own ports, deleted at the end."""

import json
import re
import shutil
import subprocess
import time
from typing import Self

from embedded.ports import free_port
from rig import DATA, ROOT
from rig.starting import ENVIRON, IMPORT, SETTLE_S, Figures, seconds, wait_until

_PROJECT = "fullstack-app-bench"
_BARE = f"{_PROJECT}-bare"
_SERVICES = ("web", "db", "cache", "adminer")
_MIB = {"B": 1 / 2**20, "KiB": 1 / 2**10, "MiB": 1.0, "GiB": 2.0**10}


class Containers:
    """`docker compose up -d --wait`, with the images built and pulled beforehand."""

    memory_title = "memory at rest, `docker stats`"

    def __init__(self) -> None:
        self._env_file = DATA / "compose.env"
        self._database_image = ""

    @property
    def title(self) -> str:
        """With the real version of the database image: a machine may have a substitute."""
        version = _docker("run", "--rm", "--network=none", "--entrypoint=postgres", self._database_image, "--version")
        return (
            f"With Docker: `docker compose up -d --wait`, images present, {self._database_image} is {version.strip()}"
        )

    @staticmethod
    def why_not() -> str:
        """Why it cannot be measured on this machine; empty if it can."""
        if shutil.which("docker") is None:
            return "the docker command is missing"
        for words in (("docker", "compose", "version"), ("docker", "info", "--format", "{{.ServerVersion}}")):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return f"{' '.join(words[:2])}: {(done.stderr or done.stdout).strip()}"
        return ""

    def __enter__(self) -> Self:
        DATA.mkdir(parents=True, exist_ok=True)
        ports = ("WEB_PORT", "CACHE_PORT", "ADMINER_PORT")
        self._env_file.write_text("".join(f"{name}={free_port()}\n" for name in ports))
        self._remove()
        try:
            self._compose("build", "--quiet", "web")
            # Pulls missing images, and creates containers without starting them.
            self._compose("create")
            self._compose("down", "--volumes")
            self._database_image = json.loads(self._compose("config", "--format", "json"))["services"]["db"]["image"]
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()
        _docker("rm", "--force", "--volumes", _BARE, check=False)
        _docker("volume", "rm", "--force", _BARE, check=False)
        self._env_file.unlink()

    def ours(self) -> tuple[Figures, Figures]:
        """See Way."""
        self._compose("down", "--volumes")
        cold = seconds(lambda: self._compose("up", "-d", "--wait"))
        self._compose("down")
        warm = seconds(lambda: self._compose("up", "-d", "--wait"))
        time.sleep(SETTLE_S)
        memory = {service: self._memory(service) for service in _SERVICES}
        self._compose("down", "--volumes")
        return {"cold": cold, "warm": warm}, memory

    def reference(self) -> Figures:
        """See Way. Each part is a container of the same image as ours."""
        web = ("run", "--rm", "--network=none", "--entrypoint=python", f"{_PROJECT}-web", *IMPORT)
        importing = seconds(lambda: _docker(*web))
        _docker("volume", "rm", "--force", _BARE)
        cold = self._bare_postgres()
        warm = self._bare_postgres()
        _docker("volume", "rm", "--force", _BARE)
        return {"import": importing, "cold": cold, "warm": warm}

    def _bare_postgres(self) -> float:
        volume = f"{_BARE}:/var/lib/postgresql/data"
        run = ("run", "--detach", "--network=none", "-e", "POSTGRES_PASSWORD=password", "-v", volume)

        def start() -> None:
            _docker(*run, "--name", _BARE, self._database_image)
            # Over TCP: on the socket, PostgreSQL is ready during initdb.
            ask = ["docker", "exec", _BARE, "pg_isready", "-q", "-h", "127.0.0.1"]
            wait_until(lambda: subprocess.run(ask, check=False, capture_output=True).returncode == 0)

        took = seconds(start)
        _docker("stop", _BARE)
        _docker("rm", _BARE)
        return took

    def _memory(self, service: str) -> float:
        """MiB, without the file cache that the kernel can release."""
        name = self._compose("ps", "--quiet", service).strip()
        used = _docker("stats", "--no-stream", "--format", "{{.MemUsage}}", name).split("/")[0]
        number, unit = re.fullmatch(r"([\d.]+)(\w+)", used.strip()).groups()
        return float(number) * _MIB[unit]

    def _remove(self) -> None:
        self._compose("down", "--volumes", "--remove-orphans", "--rmi", "local", check=False)

    def _compose(self, *words: str, check: bool = True) -> str:
        files = ("-f", str(ROOT / "docker-compose.yml"), "--env-file", str(self._env_file))
        return _docker("compose", "-p", _PROJECT, *files, *words, check=check)


def _docker(*words: str, check: bool = True) -> str:
    """The output of `docker WORDS`. Raises: RuntimeError, with the error output"""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, env=ENVIRON, cwd=ROOT)
    if check and done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout
