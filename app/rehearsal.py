"""What the first requests of a process do once and for all, done before processes are forked: so they share it.

Python writes into what it runs for the first times (PEP 659), SQLAlchemy asks a server what it is, libpq makes itself
ready. With two workers 133 MiB at rest were 128 by that.
"""

import contextlib
from typing import Any
from wsgiref.util import setup_testing_defaults

import psycopg
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.errors import DomainError
from app.extensions import Resources

_TIMES = 10
"""So often Python looks at what it runs before it writes, and some more."""


def rehearse(app: Flask) -> None:
    """Leaves neither connection nor thread, nor a line in the log. Without PostgreSQL half of it is done."""
    held: Resources = app.extensions["fullstack"]
    with contextlib.suppress(SQLAlchemyError, psycopg.Error, OSError):
        held.engine.raw_connection().close()
    held.engine.dispose()
    for _ in range(_TIMES):
        environ: dict[str, Any] = {"PATH_INFO": "/api/health/live"}
        setup_testing_defaults(environ)
        with app.request_context(environ), contextlib.suppress(DomainError):
            # All but what logs it.
            app.preprocess_request()
            app.dispatch_request()
