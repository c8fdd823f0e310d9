"""Runs `python -m app` on a free port, and sends requests to it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from embedded import processes
from embedded.ports import free_port
from tests.support.api_client import check

ROOT = Path(__file__).resolve().parents[2]
SERVER_VARIABLES = (
    *("DATABASE_URL", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"),
    *("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "PORT", "FLASK_APP"),
)


@dataclass(frozen=True)
class Response:
    """A response, and the seconds that it took."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A running service. Its log is written to a file.

    prefix: the beginning of its command, for example to run it in a network namespace with another `address`.
    root: the folder that contains its `app`.
    """

    def __init__(
        self,
        log: Path,
        env: Mapping[str, str],
        *,
        address: str = "127.0.0.1",
        prefix: Sequence[str] = (),
        root: Path = ROOT,
    ) -> None:
        self.port = int(env.get("PORT") or free_port())
        self.log, self.address = log, address
        own = {"PORT": str(self.port), "LOG_FORMAT": "json"}
        with log.open("wb") as output:
            self.process = processes.spawn(
                [*prefix, sys.executable, "-m", "app"],
                death_signal=signal.SIGKILL,
                env={**clean_environment(), **own, **env},
                cwd=root,
                output=output,
            )

    def wait_ready(self, seconds: float = 20) -> None:
        self.wait_for(lambda: self.get("/api/health/ready").status == 200, seconds)

    def wait_for(self, true: Any, seconds: float = 20) -> None:
        """Wait until `true()` holds. Connection errors are retried."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if true():
                    return
            except (OSError, http.client.HTTPException):
                assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.03)

    def __call__(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}, timeout: float = 15
    ) -> Response:
        """Send a request on a new connection, and check the response."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=timeout)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def get(self, path: str, **kwargs: Any) -> Response:
        return self("GET", path, **kwargs)

    def post(self, path: str, body: Any, **kwargs: Any) -> Response:
        return self("POST", path, body, **kwargs)

    def send_until_admitted(self, *request: Any, seconds: float = 5) -> Response:
        """Send a request; after a 503, again when Retry-After says so. Returns the last response."""
        until = time.monotonic() + seconds
        while (response := self(*request, timeout=seconds)).status == 503 and time.monotonic() < until:
            time.sleep(int(response.headers["Retry-After"]))
        return response

    @property
    def text(self) -> str:
        """The complete log."""
        return self.log.read_text(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log lines that are JSON."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def end(self, seconds: float = 15) -> int:
        """Send SIGTERM. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {seconds} s:\n{self.text}") from None

    def kill(self) -> None:
        if self.process.poll() is None:
            processes.kill(psutil.Process(self.process.pid))
        self.process.wait()


def first_administrator(service: Service) -> dict[str, str]:
    """Secure a new service. Returns the header of a token of its administrator."""
    root = service.post("/api/users", {"username": "root", "role": "admin"}).json
    body = {"name": "test", "user_id": root["id"], "role": "admin"}
    token = service.post("/api/tokens", body).json["token"]
    assert service("PATCH", f"/api/users/{root['id']}", {"password": "correct horse battery"}).status == 200
    return {"Authorization": f"Bearer {token}"}


def administrator_token(service: Service, email: str, password: str) -> str:
    """Sign in as an administrator, and create another one. Returns a token of the latter, who cannot sign in."""
    origin = {"Origin": f"http://{service.address}:{service.port}"}
    signed_in = service.post("/api/session", {"email": email, "password": password}, headers=origin)
    cookie = {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0], **origin}
    root = service.post("/api/users", {"username": "root", "role": "admin"}, headers=cookie).json
    body = {"name": "test", "user_id": root["id"], "role": "admin"}
    token: str = service.post("/api/tokens", body, headers=cookie).json["token"]
    return token


def clean_environment() -> dict[str, str]:
    """The environment of the tests, without SERVER_VARIABLES."""
    return {name: value for name, value in os.environ.items() if name not in SERVER_VARIABLES}


def run_program(
    *command: str, stdin: str | None = None, timeout_s: float = 60, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, in the folder of the repository."""
    own = {"FLASK_APP": "app", "DATABASE_WAIT_S": "1", "LOG_FORMAT": "text"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**clean_environment(), **own, **env},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}
) -> Response:
    """Send a request on this connection, and check the response. A body that is not bytes is sent as JSON."""
    given = dict(headers)
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        given.setdefault("Content-Type", "application/json")
    began = time.monotonic()
    connection.request(method, path, body, given)
    response = connection.getresponse()
    answer = Response(response.status, response.headers, response.read(), time.monotonic() - began)
    check(method, answer.status, answer.headers, answer.body)
    return answer
