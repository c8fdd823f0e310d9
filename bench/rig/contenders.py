"""Who is measured against whom: our service and the references beside it, as commands that serve on a port."""

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
from dataclasses import dataclass
from pathlib import Path

import orjson

from embedded.ports import HOST, free_port
from embedded.service import Service
from rig import DATA, ROOT

REFERENCES = ROOT / "bench" / "references"
VENV = DATA / "references"
OWN_VENV = DATA / "ours"
"""What the service needs and nothing else, as in its image: some libraries load what they find beside them."""
ADMIN = {"email": "ada@example.org", "password": "correct horse battery staple"}
_SECRET = "of the template's tokens, as long as SHA-256 wants it"  # noqa: S105 - of this run, on loopback
_WORKERS = 2
_START_S = 30


@dataclass(frozen=True)
class Contender:
    """`command` is completed with the port; paths are those of one user (`items`/id), of a page, and of POST."""

    name: str
    title: str
    command: tuple[str, ...]
    cwd: Path = REFERENCES
    items: str = "/users"
    page: str = "/users"
    creates: str = "/users"

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return DATA / f"{self.name.replace(' ', '-')}.log"


@dataclass(frozen=True)
class Running:
    """A contender that serves."""

    kind: Contender
    port: int
    pid: int
    headers: dict[str, str]

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return self.kind.title


def _python(program: str, *arguments: str) -> tuple[str, ...]:
    return (str(VENV / "bin" / program), *arguments)


_WORKERS_OPTION = ("--workers", str(_WORKERS))
_UVICORN = ("--no-access-log", "--log-level", "warning", *_WORKERS_OPTION, "--host", HOST, "--port", "{port}")

OURS = Contender(
    "ours",
    "ours, by token",
    (str(OWN_VENV / "bin" / "python"), "-m", "app"),
    ROOT,
    items="/api/users",
    page="/api/users",
    creates="/api/users",
)
NAIVE = Contender(
    "naive",
    "the exercise's code, gunicorn",
    _python("gunicorn", *_WORKERS_OPTION, "--log-level", "warning", "--bind", HOST + ":{port}", "naive:create_app()"),
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
_GRANIAN = ("--interface", "wsgi", *_WORKERS_OPTION, "--blocking-threads", "64", "--no-log", "--host", HOST)
BARE = Contender("bare WSGI", "bare WSGI on granian", _python("granian", *_GRANIAN, "--port", "{port}", "bare:app"))

CONTENDERS = (OURS, NAIVE, TEMPLATE, ASYNCPG, FASTIFY, BARE)


@contextmanager
def serving(contender: Contender, settings: dict[str, str], admin_id: str) -> Iterator[Running]:
    """Run a contender until it is no longer wanted. `admin_id` is whom the template's token is of.

    Raises: SystemExit, when it does not start
    """
    port = free_port()
    state = DATA / f"{port}.state"
    own = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    env = {**own, **settings, "PORT": str(port), "SECRET_KEY": _SECRET, "STATE_FILE": str(state)}
    program, *arguments = (part.format(port=port) for part in contender.command)
    command = [shutil.which(program) or program, *arguments]
    with contender.log.open("wb") as log:
        service = Service(command, port, env, contender.cwd, log)
    try:
        if not _serves(contender, service, port):
            sys.exit(f"Error: {contender.title} did not start; its own words are in {contender.log}")
        yield Running(contender, port, service.pid, _admission(contender, port, admin_id))
    finally:
        service.stop()
        state.unlink(missing_ok=True)


def ask(contender: Running, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    """Status and body of the answer to one request."""
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
    """Wait until it does, which of ours is its own word, of the others any answer."""
    deadline = time.monotonic() + _START_S
    while service.exit_code() is None and time.monotonic() < deadline:
        if service.is_ready() if contender is OURS else _answers(contender, port):
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
    """The headers that let requests in. Most of the references ask for none."""
    secrets = {OURS: lambda: _token(port), TEMPLATE: lambda: _jwt(admin_id)}
    return {"Authorization": f"Bearer {secrets[contender]()}"} if contender in secrets else {}


def _token(port: int) -> str:
    """A token of the administrator that our service was started with."""
    client = http.client.HTTPConnection(HOST, port, timeout=60)
    headers = {"Content-Type": "application/json"}
    client.request("POST", "/api/session", orjson.dumps(ADMIN), headers)
    answer = client.getresponse()
    answer.read()
    cookie = (answer.headers["Set-Cookie"] or "").partition(";")[0]
    headers |= {"Cookie": cookie, "Origin": f"http://{HOST}:{port}"}
    client.request("POST", "/api/tokens", orjson.dumps({"name": "bench", "role": "admin"}), headers)
    made = orjson.loads(client.getresponse().read())
    client.close()
    return str(made["token"])


def _jwt(subject: str) -> str:
    """What the template's sign-in gives (RFC 7519, HS256)."""
    parts = [
        orjson.dumps({"alg": "HS256", "typ": "JWT"}),
        orjson.dumps({"sub": subject, "exp": int(time.time()) + 86400}),
    ]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest(_SECRET.encode(), signed, hashlib.sha256)
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
