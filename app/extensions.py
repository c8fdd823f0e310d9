"""`db` and `cache`: public names of the exercise, for guests such as `flask shell`.

They need no application: outside of one they connect from the environment. The services use app.db and app.cache.
"""

import functools
import threading
from typing import Any, TypeVar, cast

import redis as redis_client
import structlog
from flask import has_app_context
from flask.globals import app_ctx
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import Connection, Engine, create_engine, text
from werkzeug.local import LocalProxy

from app.cache.redis_client import open_client
from app.config import load_settings
from app.db.connection import connect
from app.db.database import engine_options, engine_url
from app.errors import SettingsError
from app.http.services import services
from app.models import Base

log = structlog.get_logger(__name__)

_NOT_MIGRATED = ("42P01", "42703")  # undefined table, undefined column
_BACKGROUND_STATEMENT_S = 5.0
Part = TypeVar("Part")


class Session(FlaskSession):
    """Flask-SQLAlchemy's session, that takes SQL as text, and works without an application from the environment."""

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """As SQLAlchemy's; the exercise says `db.session.execute('SELECT 1')`."""
        return super().execute(text(statement) if isinstance(statement, str) else statement, *args, **kwargs)

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """The application's engine, or the guest's own."""
        return super().get_bind(*args, **kwargs) if has_app_context() else _guest_engine()


def _session_scope() -> int:
    return id(cast("Any", app_ctx)._get_current_object()) if has_app_context() else threading.get_ident()


db = SQLAlchemy(
    model_class=Base,
    session_options={"class_": Session, "scopefunc": _session_scope},
    disable_autonaming=True,
)
Base.query = db.session.query_property()


@functools.cache
def _guest_redis() -> redis_client.Redis:
    return open_client(load_settings().redis_address, timeout_s=2)


def _redis() -> redis_client.Redis:
    try:
        return services().infrastructure.redis if has_app_context() else _guest_redis()
    except SettingsError as error:
        # `flask` looks at every name of this package for an application, and goes on after this error alone.
        raise RuntimeError(str(error)) from None


cache = cast("redis_client.Redis", LocalProxy(_redis))
"""A plain Redis client. It raises when Redis is away."""


@functools.cache
def _guest_engine() -> Engine:
    """As the owner of the tables: whoever has a shell here is the operator."""
    settings = load_settings()
    connect_as_owner = functools.partial(connect, settings.database_conninfo, settings.database_timeout_s)
    return create_engine(engine_url(settings), creator=connect_as_owner, **engine_options(settings))
