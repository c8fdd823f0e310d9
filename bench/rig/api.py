"""A client of our service for the benchmarks: requests, the administrator's session, tokens."""

import http.client
import sys
import time
from dataclasses import dataclass
from typing import Any

import orjson

from embedded.ports import HOST
from embedded.service import Service

ADMIN = {"email": "ada@example.org", "password": "correct horse battery staple"}
"""The first administrator of the service: ADMIN_EMAIL and ADMIN_PASSWORD."""
_TIMEOUT_S = 60
_START_S = 30


@dataclass(frozen=True)
class Response:
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The parsed body. Raises: RuntimeError, when the status is an error"""
        if not 200 <= self.status < 300:  # noqa: PLR2004 - all that are called success
            raise RuntimeError(f"the service gave {self.status}: {self.body.decode(errors='replace')}")
        return orjson.loads(self.body)


def await_ready(service: Service) -> None:
    """Wait until a started service accepts requests. Raises: SystemExit, when it does not"""
    deadline = time.monotonic() + _START_S
    while not service.is_ready():
        if service.exit_code() is not None or time.monotonic() > deadline:
            sys.exit("Error: the service did not start; its output is above.")
        time.sleep(0.05)


def send(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
    """Send one request on its own connection; `body` is sent as JSON. Raises: OSError, http.client.HTTPException"""
    client = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    try:
        sent = None if body is None else orjson.dumps(body)
        client.request(method, path, sent, {"Content-Type": "application/json", **(headers or {})})
        response = client.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        client.close()


def sign_in(port: int, account: dict[str, str] = ADMIN) -> dict[str, str]:
    """The headers of a signed-in browser. Raises: RuntimeError"""
    response = send(port, "POST", "/api/session", account)
    response.json()
    cookie = (response.headers["Set-Cookie"] or "").partition(";")[0]
    return {"Cookie": cookie, "Origin": f"http://{HOST}:{port}"}


def create_token(port: int, session: dict[str, str], name: str, role: str = "admin") -> dict[str, str]:
    """The headers with a new token of the user of `session`. Raises: RuntimeError"""
    created = send(port, "POST", "/api/tokens", {"name": name, "role": role}, session).json()
    return {"Authorization": f"Bearer {created['token']}"}
