"""Refuses requests until the database is migrated."""

from flask import Flask, request

from app.errors import N_, Unavailable
from app.http.services import services
from app.ops.service_state import Phase

_ALWAYS = ("health.", "root_health.")


def install_readiness(app: Flask) -> None:
    """Answer 503 to every route of `app` but the health checks while the service starts."""
    app.before_request(_check)


def _check() -> None:
    if services().infrastructure.state.phase == Phase.STARTING and not (request.endpoint or "").startswith(_ALWAYS):
        raise Unavailable(N_("The service is starting. Try again shortly."))
