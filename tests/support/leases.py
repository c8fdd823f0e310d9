"""Leases without a change poller, for applications in this process."""

from flask import Flask

from app.http.services import services_of

FOREVER_NS = 1 << 62


def grant_lease(app: Flask) -> None:
    """Give the application a lease that does not end, so it uses its caches."""
    services_of(app).generations.prolong_lease(FOREVER_NS)
