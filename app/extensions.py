"""`db` and `cache`: the public names of the exercise, for example for `flask shell`.

Outside of an application context they connect with the settings of the environment. The services use the
packages app/db/ and app/cache/.
"""

import functools
import threading
from typing import Any, cast

import redis as redis_client
from flask import has_app_context
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from sqlalchemy import Connection, Engine, create_engine, text
from werkzeug.local import LocalProxy

from app.cache.redis_client import open_client
from app.config import load_settings
from app.db.database import connect, engine_options, engine_url
from app.errors import SettingsError
from app.http.services import services
from app.models import Base


class Session(FlaskSession):
    """The session of Flask-SQLAlchemy. It also accepts SQL as text, and works outside of an application context."""

    def execute(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Like SQLAlchemy's, but accepts text: the exercise has `db.session.execute('SELECT 1')`."""
        return super().execute(text(statement) if isinstance(statement, str) else statement, *args, **kwargs)

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """The engine of the application; outside of its context, an engine for the settings of the environment."""
        return super().get_bind(*args, **kwargs) if has_app_context() else _engine_of_environment()


db = SQLAlchemy(
    model_class=Base,
    # A session for each thread. Flask-SQLAlchemy's own scope, the application context, does not exist in a plain shell.
    session_options={"class_": Session, "scopefunc": threading.get_ident},
    disable_autonaming=True,
)
Base.query = db.session.query_property()


@functools.cache
def _redis_of_environment() -> redis_client.Redis:
    return open_client(load_settings().redis_address, timeout_s=2)


def _redis() -> redis_client.Redis:
    try:
        return services().redis if has_app_context() else _redis_of_environment()
    except SettingsError as error:
        # `flask` looks for an application among the names of this package, and ignores no other error.
        raise RuntimeError(str(error)) from None


cache = cast("redis_client.Redis", LocalProxy(_redis))
"""A Redis client. It raises an error if Redis can't be reached."""


@functools.cache
def _engine_of_environment() -> Engine:
    """Connects as the owner of the tables: a user of this shell is the operator."""
    settings = load_settings()
    connect_as_owner = functools.partial(connect, settings.database_conninfo, settings.database_timeout_s)
    return create_engine(engine_url(settings), creator=connect_as_owner, **engine_options(settings))
