"""Request ids, and the one line that is logged of each request."""

import logging
import random
import re
import time
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Request, Response, g
from flask.globals import request_ctx

from app.infra.logs import is_written
from app.services.authority import Actor
from app.services.history import Caller

log = structlog.get_logger("app.request")

_FAILURE = int(HTTPStatus.INTERNAL_SERVER_ERROR)
_AGENT_CHARACTERS = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}", re.ASCII)


def install_watching(app: Flask) -> None:
    """Give each request of `app` an id and a log line."""
    app.before_request(_begin)
    app.after_request(_end)


def request_id() -> str:
    """The id of the current request: the client's, if it is sane, else a new one."""
    found: str | None = g.get("request_id")
    if found is None:
        found = g.request_id = id_for(current_request().environ.get("HTTP_X_REQUEST_ID", ""))
    return found


def current_request() -> Request:
    """Flask's `request` itself: each use of the proxy for it looks it up again."""
    return request_ctx.request


def id_for(offered: str) -> str:
    """`offered`, if it is a sane id of a request, else a new one: which is no secret, and costs no system call."""
    return offered if offered and _SANE.fullmatch(offered) else f"{random.getrandbits(128):032x}"


def note(method: str, route: str | None, status: int, began: float, request_id: str) -> None:
    """Log a request that was answered now; `began` on the clock of time.perf_counter.

    What the service could not do is a warning; health alone says in a calm voice that it is not ready.
    """
    is_failure = status >= _FAILURE and "/health" not in (route or "")
    level = logging.WARNING if is_failure else logging.INFO
    if is_written(level):
        ms = round(1000 * (time.perf_counter() - began), 2)
        log.log(level, "request", method=method, route=route, status=status, ms=ms, request_id=request_id)


def caller_as(actor: Actor) -> Caller:
    """`actor`, and where the current request comes from."""
    return caller_of(current_request().environ, actor, request_id())


def caller_of(environ: dict[str, Any], actor: Actor, request_id: str) -> Caller:
    """`actor`, and where a request comes from."""
    agent = environ.get("HTTP_USER_AGENT")
    return Caller(
        actor=actor,
        address=environ.get("REMOTE_ADDR"),
        agent=_CONTROL.sub("", agent)[:_AGENT_CHARACTERS] if agent else None,
        request_id=request_id,
    )


def _begin() -> None:
    g.began = time.perf_counter()


def _end(response: Response) -> Response:
    asked, given = current_request(), request_id()
    response.headers.add("X-Request-ID", given)
    # What Flask answers with nothing (204, OPTIONS) it calls a page of HTML.
    if response.mimetype == "text/html" and response.is_sequence and not response.get_data():
        del response.headers["Content-Type"]
    rule = asked.url_rule.rule if asked.url_rule else None
    note(asked.method, rule, response.status_code, g.began, given)
    return response
