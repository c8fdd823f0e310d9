"""The compose stack as a project of its own: own name, own ports, own settings, gone at the end."""

import http.client
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedded.ports import free_port
from tests.support.service_process import Response, ask

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("web", "db", "cache", "adminer")
_PORTS = ("WEB_PORT", "CACHE_PORT", "ADMINER_PORT")
# Compose takes a variable of the shell before one of a file: none of the user's may come through.
_SHELL = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "TMPDIR", "LANG")
ENVIRON = {name: os.environ[name] for name in _SHELL if name in os.environ}


def run(*words: str, check: bool = True, timeout: float = 300, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a program with a clean environment and return what it printed. With `check`, a failure shows it."""
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=timeout, env=ENVIRON, **{"cwd": ROOT, **kwargs}
    )
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def wait_until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until it is so, and return what was true. Not being reachable yet is no failure."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := true():
                return found
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < deadline, f"after {seconds} s it still is not so: {what}"
        time.sleep(0.1)


class Stack:
    """A project of docker-compose.yml (and of `files` after it), with `settings` as its .env has them."""

    def __init__(self, name: str, folder: Path, *files: Path, root: Path = ROOT, **settings: str) -> None:
        self.name, self.root, self._folder, self._files = name, root, folder, files
        self.credential: dict[str, str] = {}
        self.settings = {**{port: str(free_port()) for port in _PORTS}, **settings}
        folder.mkdir(exist_ok=True)
        self._env_file = folder / f"{name}.env"
        self._env_file.write_text("".join(f"{key}={value}\n" for key, value in self.settings.items()))

    def __call__(self, *words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """`docker compose WORDS` on this project."""
        return run(*self.command(*words), **kwargs)

    def command(self, *words: str, program: tuple[str, ...] = ("docker", "compose")) -> tuple[str, ...]:
        """The words of a compose command on this project."""
        files = [part for file in (self.root / "docker-compose.yml", *self._files) for part in ("-f", str(file))]
        return (*program, "-p", self.name, "--env-file", str(self._env_file), *files, *words)

    def up(self, *words: str) -> float:
        """Build, start, wait until healthy. Returns the seconds of start and wait."""
        self("build", "web", timeout=900)
        began = time.monotonic()
        self("up", "-d", "--wait", *words)
        return time.monotonic() - began

    def mend(self) -> None:
        """Make it whole again, whatever a test did to it."""
        if any(self.health(service) != "healthy" for service in SERVICES):
            self("unpause", check=False)
            # It gives up on a service whose check has yet to notice that it is well again.
            wait_until(lambda: self("up", "-d", "--wait", check=False).returncode == 0, "the stack is whole")
        self.wait_for_health("ok")
        # Each process of web finds out for itself that PostgreSQL is back.
        wait_until(lambda: all(self._reads() for _ in range(20)), "the stack serves")

    def remove(self) -> None:
        """Leave no container, network, volume or image of it behind, also not of another version of the file."""
        self("unpause", check=False)
        ours = f"label=com.docker.compose.project={self.name}"
        removals = (("container", "-aq", "-fv"), ("network", "-q", "-f"), ("volume", "-q", "-f"))
        for kind, listed, forced in removals:
            names = run("docker", kind, "ls", listed, "--filter", ours).stdout.split()
            if names:
                run("docker", kind, "rm", forced, *names)
        run("docker", "image", "rm", "-f", f"{self.name}-web", check=False)

    def beside(self, **settings: str) -> "Stack":
        """The same project with further settings, for one command."""
        return type(self)(self.name, self._folder / "beside", *self._files, root=self.root, **self.settings | settings)

    # --- containers -------------------------------------------------------------------------

    def container(self, service: str) -> str:
        """The id of the container, running or not; empty when there is none."""
        # Asking the engine itself takes a fifth of the time of `docker compose ps`.
        labels = (f"project={self.name}", f"service={service}", "oneoff=False")
        filters = [part for label in labels for part in ("--filter", f"label=com.docker.compose.{label}")]
        return run("docker", "ps", "-aq", *filters).stdout.strip()

    def published_ports(self) -> dict[str, set[str]]:
        """The ports of each running service that the host publishes."""
        found: dict[str, set[str]] = {}
        label = f"label=com.docker.compose.project={self.name}"
        for name in run("docker", "ps", "-q", "--filter", label).stdout.split():
            container = json.loads(run("docker", "inspect", name).stdout)[0]
            ports = container["NetworkSettings"]["Ports"]
            found[container["Config"]["Labels"]["com.docker.compose.service"]] = {port for port in ports if ports[port]}
        return found

    def inspect(self, service: str) -> dict[str, Any]:
        return json.loads(run("docker", "inspect", self.container(service)).stdout)[0]

    def health(self, service: str) -> str:
        """What the health check says: starting, healthy or unhealthy; or why it is not asked."""
        name = self.container(service)
        if not name:
            return "missing"
        state = json.loads(run("docker", "inspect", name).stdout)[0]["State"]
        return state["Health"]["Status"] if state["Status"] == "running" else state["Status"]

    def wait_for_check(self, service: str, status: str) -> None:
        wait_until(lambda: self.health(service) == status, f"the health check of {service} says {status}")

    def sh(self, service: str, script: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in the container, as the user of the service."""
        return self("exec", "-T", service, "sh", "-c", script, **kwargs)

    def log(self, service: str) -> str:
        """All that it wrote, on either stream."""
        done = run("docker", "logs", self.container(service))
        return done.stdout + done.stderr

    def sql(self, statement: str) -> str:
        """What PostgreSQL's superuser is told, on the socket."""
        program = 'PGDATABASE="$POSTGRES_DB" psql -v ON_ERROR_STOP=1 -qtAX -U "$POSTGRES_USER"'
        return self.sh("db", program, input=statement).stdout.strip()

    # --- the API, over the published port ------------------------------------------------------

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}, timeout: float = 15
    ) -> Response:
        """One request on a connection of its own, held to what the contract promises of every answer.

        Who has signed in sends that credential along, unless `headers` has another.
        """
        headers = self.credential | dict(headers)
        connection = self.connection(timeout)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def connection(self, timeout: float = 15) -> http.client.HTTPConnection:
        """A connection to the service."""
        return http.client.HTTPConnection("localhost", int(self.settings["WEB_PORT"]), timeout=timeout)

    @property
    def origin(self) -> str:
        """The origin of the service, as a browser sends it."""
        return f"http://localhost:{self.settings['WEB_PORT']}"

    def get(self, path: str, **kwargs: Any) -> Response:
        return self.request("GET", path, **kwargs)

    def sign_in(self, email: str, password: str) -> Response:
        """Begin a session, and go on with it."""
        body, origin = {"email": email, "password": password}, {"Origin": self.origin}
        self.credential = {}
        answer = self.request("POST", "/api/session", body, origin)
        assert answer.status == 201, answer.body
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        self.credential = {"Cookie": cookie, **origin}
        return answer

    def make(self, username: str, **fields: Any) -> dict[str, Any]:
        """Create a user."""
        answer = self.request("POST", "/api/users", {"username": username, **fields})
        assert answer.status == 201, answer.body
        return answer.json

    def _reads(self) -> bool:
        """Whether one process of web can read from PostgreSQL: nothing is kept of an id that is new."""
        return self.get(f"/api/users/{uuid.uuid4()}").status == 404

    def wait_for_health(self, status: str) -> None:
        """Wait until /api/health says so."""
        wait_until(lambda: self.get("/api/health").json["status"] == status, f"/api/health says {status}")


@contextmanager
def projects(prefix: str, new_folder: Callable[[str], Path]) -> Iterator[Callable[..., Stack]]:
    """Make projects; leftovers of an earlier run go first, and all go at the end. Each worker has names of its own."""
    made: list[Stack] = []
    worker = os.environ.get("PYTEST_XDIST_WORKER", "one")

    def make(kind: str, *files: Path, root: Path = ROOT, of: type[Stack] = Stack, **settings: str) -> Stack:
        stack = of(f"{prefix}-{worker}-{kind}", new_folder(kind), *files, root=root, **settings)
        stack.remove()
        made.append(stack)
        return stack

    try:
        yield make
    finally:
        for stack in made:
            stack.remove()


def why_not() -> str:
    """Why the stack can't be tested here; empty when it can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    for words in (("docker", "compose", "version"), ("docker", "info", "--format", "{{.ServerVersion}}")):
        done = run(*words, check=False, timeout=30)
        if done.returncode != 0:
            return f"{' '.join(words[:2])}: {(done.stderr or done.stdout).strip()}"
    return ""
