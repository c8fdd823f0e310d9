"""What a request meets while the service starts: a clear answer instead of a missing table."""

from flask import Flask, request

from app.errors import N_, Unavailable
from app.http.services import services

_ALWAYS = ("health.", "root_health.")


def install_readiness(app: Flask) -> None:
    """Answer 503 to everything but health until the database is migrated."""
    app.before_request(_check)


def _check() -> None:
    if services().infrastructure.state.is_starting and not (request.endpoint or "").startswith(_ALWAYS):
        raise Unavailable(N_("The service is starting. Try again shortly."))
