"""How the server calls the application: granian's own way, without what it copies into each request.

Granian puts the whole environment of the process into every WSGI environ, which nothing here reads. What it hands over
is new for each request, so what WSGI wants is put into that.
"""

import sys
from collections.abc import Callable
from typing import Any

from flask import Flask
from granian.wsgi import ResponseIterWrap

# What PEP 3333 wants and granian's Rust does not give; what it reads ends by itself, which Werkzeug asks for.
_CONSTANT = {
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "Granian",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}


class _Start:
    """The callable `start_response` of PEP 3333: keeps what it is told."""

    __slots__ = ("headers", "status")

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:  # noqa: ARG002
        """Keep it."""
        self.status, self.headers = int(status[:3]), headers


def called_by_granian(app: Flask, *_: Any) -> Callable[[Any, dict[str, Any]], int]:
    """What granian calls with its protocol object and the environ; takes the place of granian.wsgi._callback_wrapper.

    What is sent is on its way before this thread follows others (infra.lead).
    """
    ask: Callable[..., Any] = app.wsgi_app
    follow = app.extensions["fullstack"].lead.follow

    def serve(protocol: Any, environ: dict[str, Any]) -> int:
        environ.update(_CONSTANT)
        start = _Start()
        body: Any = ask(environ, start)
        if isinstance(body, list):
            protocol.response_bytes(start.status, start.headers, body[0] if len(body) == 1 else b"".join(body))
        else:
            protocol.response_iter(start.status, start.headers, ResponseIterWrap(body))  # type: ignore[no-untyped-call]
        follow()
        return start.status

    return serve
