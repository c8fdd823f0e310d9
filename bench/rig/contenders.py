"""The contenders: our service and the references, as commands that serve on a port."""

import base64
import hashlib
import hmac
import http.client
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from embedded.ports import HOST, free_port
from embedded.service import Service
from rig import DATA, ROOT, pocketbase
from rig.api import create_token, sign_in

REFERENCES = ROOT / "bench" / "references"
VENV = DATA / "references"
OWN_VENV = DATA / "ours"
"""An environment with only the packages of the image, because some libraries load other packages that they find."""
_SECRET = "of the template's tokens, as long as SHA-256 needs"  # noqa: S105 - of this run, on loopback
_MANY_WORKERS = 6
_START_S = 30


@dataclass(frozen=True)
class Contender:
    """`command` has placeholders for port and workers. Paths: one user (`items`/id), a page, and POST."""

    name: str
    title: str
    command: tuple[str, ...]
    cwd: Path = REFERENCES
    items: str = "/users"
    page: str = "/users"
    creates: str = "/users"
    workers: int = 2
    is_ours: bool = False

    def with_workers(self, workers: int) -> "Contender":
        """The same with another number of workers."""
        return replace(self, name=f"{self.name} {workers}", title=f"{self.title}, {workers} workers", workers=workers)

    @property
    def log(self) -> Path:
        """The file of its output."""
        return DATA / f"{self.name.replace(' ', '-')}.log"


@dataclass(frozen=True)
class Running:
    """A running contender."""

    kind: Contender
    port: int
    pid: int
    headers: dict[str, str]

    @property
    def title(self) -> str:
        """Its name in tables."""
        return self.kind.title


def _python(program: str, *arguments: str) -> tuple[str, ...]:
    return (str(VENV / "bin" / program), *arguments)


_WORKERS = ("--workers", "{workers}")
_UVICORN = ("--no-access-log", "--log-level", "warning", *_WORKERS, "--host", HOST, "--port", "{port}")

OURS = Contender(
    "ours",
    "ours, by token",
    (str(OWN_VENV / "bin" / "python"), "-m", "app"),
    ROOT,
    items="/api/users",
    page="/api/users",
    creates="/api/users",
    is_ours=True,
)
NAIVE = Contender(
    "naive",
    "the exercise's code, gunicorn",
    _python("gunicorn", *_WORKERS, "--log-level", "warning", "--bind", HOST + ":{port}", "naive:create_app()"),
)
TEMPLATE = Contender(
    "template",
    "FastAPI template, SQLModel",
    _python("uvicorn", *_UVICORN, "template:app"),
    page="/users/?limit=50",
    creates="/users/",
)
ASYNCPG = Contender("asyncpg", "FastAPI, asyncpg", _python("uvicorn", *_UVICORN, "fastapi_asyncpg:app"))
FASTIFY = Contender("Fastify", "Fastify, pg", ("node", "server.js"), REFERENCES / "fastify")
POCKETBASE = Contender(
    "PocketBase",
    "PocketBase, SQLite",
    _python("pocketbase", *pocketbase.SERVE),
    items=pocketbase.RECORDS,
    # Without skipTotal it counts the table for each page.
    page=f"{pocketbase.RECORDS}?perPage=50&skipTotal=1&sort=created,id",
)
OURS_MANY, NAIVE_MANY, FASTIFY_MANY = (one.with_workers(_MANY_WORKERS) for one in (OURS, NAIVE, FASTIFY))

REFERENCES_TO = (NAIVE, TEMPLATE, ASYNCPG, FASTIFY, POCKETBASE)
"""The contenders that goals compare ours with."""


@contextmanager
def serving(
    contender: Contender, settings: dict[str, str], admin_id: str, headers: dict[str, str] | None = None
) -> Iterator[Running]:
    """Run a contender inside the block. `admin_id` is the user of the template's token.

    headers: those that authenticate, if known from an earlier start. Raises: SystemExit, when it does not start
    """
    port = free_port()
    own = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    env = {**own, **settings, "PORT": str(port), "WORKERS": str(contender.workers), "SECRET_KEY": _SECRET}
    program, *arguments = (part.format(port=port, workers=contender.workers) for part in contender.command)
    command = [shutil.which(program) or program, *arguments]
    with contender.log.open("wb") as log:
        service = Service(command, port, env, contender.cwd, log)
    try:
        if not _serves(contender, service, port):
            sys.exit(f"Error: {contender.title} did not start; its output is in {contender.log}")
        yield Running(contender, port, service.pid, headers or _admission(contender, port, admin_id))
    finally:
        service.stop()


def ask(contender: Running, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    """Send one request. Returns status and body."""
    return _ask(contender.port, method, path, body, contender.headers)


def _ask(port: int, method: str, path: str, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
    client = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        client.request(method, path, body or None, {**headers, "Content-Type": "application/json"})
        response = client.getresponse()
        return response.status, response.read()
    finally:
        client.close()


def _serves(contender: Contender, service: Service, port: int) -> bool:
    """Wait until it serves: ours reports it, the others return any response."""
    deadline = time.monotonic() + _START_S
    while service.exit_code() is None and time.monotonic() < deadline:
        if service.is_ready() if contender.is_ours else _answers(contender, port):
            return True
        time.sleep(0.05)
    return False


def _answers(contender: Contender, port: int) -> bool:
    try:
        _ask(port, "GET", f"{contender.items}/none", "", {})
    except (OSError, http.client.HTTPException):
        return False
    return True


def _admission(contender: Contender, port: int, admin_id: str) -> dict[str, str]:
    """The headers that authenticate. Most references need none."""
    if contender.is_ours:
        return create_token(port, sign_in(port), "bench")
    if contender is POCKETBASE:
        return pocketbase.superuser(port)
    return {"Authorization": f"Bearer {_jwt(admin_id)}"} if contender is TEMPLATE else {}


def _jwt(subject: str) -> str:
    """The token that the template's sign-in returns (RFC 7519, HS256)."""
    parts = [
        orjson.dumps({"alg": "HS256", "typ": "JWT"}),
        orjson.dumps({"sub": subject, "exp": int(time.time()) + 86400}),
    ]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest(_SECRET.encode(), signed, hashlib.sha256)
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
