"""Request ids, and one log line for each request."""

import logging
import random
import re
from collections.abc import Mapping
from typing import Any

import structlog
from flask import Flask, Response, request

from app.cache.generations import clock_ns
from app.http.context import CURRENT, ROUTE, RequestContext, context
from app.http.services import services

log = structlog.get_logger("app.request")

_FAILURE = 500
"""From this status on, a request is logged as a warning. A health check is logged one level lower: info, or debug."""
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}", re.ASCII)


def install_request_log(app: Flask) -> None:
    """Begin the context of each request that `app` answers, and log it."""
    app.before_request(_begin)
    app.after_request(_finish)


def request_id_of(environ: Mapping[str, Any]) -> str:
    """The id that the client sent, if it is valid, or a new one."""
    offered: str = environ.get("HTTP_X_REQUEST_ID", "")
    # It is no secret, and needs no system call.
    return offered if _SANE.fullmatch(offered) else f"{random.getrandbits(128):032x}"


def log_request(environ: Mapping[str, Any], current: RequestContext, status: int, *, cached: bool = False) -> None:
    """Log a request. cached: the response cache answered."""
    actor, route, began_ns = current.actor, current.route, current.began_ns
    level = logging.WARNING if status >= _FAILURE else logging.INFO
    if "/health" in (route or ""):
        level -= logging.DEBUG
    if not log.is_enabled_for(level):
        return
    log.log(
        level,
        "request",
        method=environ["REQUEST_METHOD"],
        route=route,
        status=status,
        ms=round((clock_ns() - began_ns) / 1e6, 2),
        request_id=current.request_id,
        user_id=str(actor.user_id) if actor.user_id else None,
        credential=f"{actor.kind}:{actor.credential_id}" if actor.credential_id else None,
        cached=cached,
        **({"address": environ.get("REMOTE_ADDR")} if current.is_address_logged else {}),
    )


def _begin() -> None:
    is_address_logged = services().settings.log_addresses
    CURRENT.set(RequestContext(request_id_of(request.environ), clock_ns(), is_address_logged=is_address_logged))


def _finish(response: Response) -> Response:
    current = context()
    request.environ[ROUTE] = current.route
    log_request(request.environ, current, response.status_code)
    response.headers.add("X-Request-ID", current.request_id)
    return response
