"""What a request meets while the service starts: a clear answer instead of a missing table."""

from flask import Flask, request

from app.errors import N_, Unavailable
from app.extensions import resources

_ALWAYS = ("health.", "root_health.")


def install_phases(app: Flask) -> None:
    """Answer 503 to everything but health until the database is migrated."""
    app.before_request(_check)


def _check() -> None:
    if resources().state.is_starting and not (request.endpoint or "").startswith(_ALWAYS):
        raise Unavailable(N_("The service is starting. Try again shortly."))
