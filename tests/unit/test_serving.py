"""How granian calls the application: WSGI to the letter, and nothing of the process's environment."""

import io
import os
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast
from wsgiref.validate import validator

import pytest
from flask import Flask

from app.infra.lead import Lead
from app.web.serving import called_by_granian


class Protocol:
    """Granian's, as Python sees it."""

    def __init__(self) -> None:
        self.sent: tuple[int, list[tuple[str, str]], bytes] | None = None

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.sent = status, headers, body

    def response_iter(self, status: int, headers: list[tuple[str, str]], body: Any) -> None:
        pieces = []
        try:
            while True:
                pieces.append(body.__next__())
        except StopIteration:
            body.close()
        self.sent = status, headers, b"".join(pieces)


def environ() -> dict[str, Any]:
    """What granian's Rust gives."""
    return {
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "5000",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/x",
        "QUERY_STRING": "",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(b""),
        "HTTP_HOST": "127.0.0.1:5000",
    }


def called(wsgi_app: Any) -> tuple[int, list[tuple[str, str]], bytes]:
    app = SimpleNamespace(wsgi_app=wsgi_app, extensions={"fullstack": SimpleNamespace(lead=Lead())})
    protocol = Protocol()
    assert called_by_granian(cast("Flask", app), {}, None)(protocol, environ()) == 201
    assert protocol.sent is not None
    return protocol.sent


@pytest.mark.parametrize("body", [[], [b"one"], [b"one", b"two"], iter([b"one", b"two"])], ids=str)
def test_all_kinds_of_bodies_are_sent(body: Iterable[bytes]) -> None:
    expected = b"onetwo" if not isinstance(body, list) else b"".join(body)

    def app(_: dict[str, Any], start_response: Any) -> Any:
        start_response("201 CREATED", [("Content-Type", "text/plain")])
        return body if isinstance(body, list) else Closing(body)

    assert called(app) == (201, [("Content-Type", "text/plain")], expected)


class Closing:
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Any:
        return iter(self._pieces)

    def close(self) -> None:
        """As PEP 3333 wants it called."""


def test_it_is_wsgi_without_the_environment_of_the_process() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("201 CREATED", [("Content-Type", "text/plain")])
        return [b"done"]

    assert called(validator(app))[2] == b"done"
    assert not set(seen) & set(os.environ)
