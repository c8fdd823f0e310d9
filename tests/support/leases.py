"""Leases without a change poller: for applications that are made in this process."""

from flask import Flask

from app.http.services import services_of

FOREVER_NS = 1 << 62


def grant_lease(app: Flask) -> None:
    """Let the application use its caches for good, as the change poller does from moment to moment."""
    services_of(app).infrastructure.generations.prolong_lease(FOREVER_NS)
