"""Request ids, and one log line for each request."""

import logging
import random
import re
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from flask import Flask

from app.cache.generations import clock_ns
from app.http.context import request_context

log = structlog.get_logger("app.request")

_FAILURE = "500"
"""From this status on, a request is logged as a warning, except a health check."""
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}", re.ASCII)


def install_request_log(app: Flask) -> None:
    """Log each request of `app`, whether Flask or the response cache answers it."""
    app.wsgi_app = _RequestLog(app.wsgi_app)  # type: ignore[method-assign]


class _RequestLog:
    """WSGI middleware. It begins the context of each request, with a valid id of the client or a new one."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """As WSGI has it (PEP 3333)."""
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not _SANE.fullmatch(request_id):
            # It is no secret, and needs no system call.
            request_id = f"{random.getrandbits(128):032x}"
        with request_context(request_id) as current:

            def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
                is_failure = status >= _FAILURE and "/health" not in (current.route or "")
                log.log(
                    logging.WARNING if is_failure else logging.INFO,
                    "request",
                    method=environ["REQUEST_METHOD"],
                    route=current.route,
                    status=int(status[:3]),
                    ms=round((clock_ns() - current.began_ns) / 1e6, 2),
                    request_id=request_id,
                )
                return start_response(status, [*headers, ("X-Request-ID", request_id)], *exc_info)

            return self._app(environ, start)
