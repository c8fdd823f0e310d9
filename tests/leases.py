"""Leases without a courier: for applications that are made in this process."""

from flask import Flask


def lend(app: Flask) -> None:
    """Let the application use its memory for good, as the launcher's courier does from moment to moment."""
    app.extensions["fullstack"].state.lease[0] = 1 << 62
