"""The database and Redis: created unbound, no connection on import.

`db` and `cache` are what guests get (the exercise's shell, `flask shell`): they also
work without an application, from the environment. Services use `asked`, `reading`,
`writing`, `answers` and `local_cache`.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar, cast

import redis as redis_client
import structlog
from flask import current_app, has_app_context
from flask.globals import app_ctx
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection, Engine, create_engine, text
from werkzeug.local import LocalProxy

from app.cache.generations import Generations
from app.cache.known_changes import KnownChanges
from app.cache.local import LocalCache
from app.cache.redis_answers import Answers, NoAnswers, RedisAnswers
from app.cache.redis_client import open_client
from app.config import Settings, load_settings
from app.db.connection import Statement, connect
from app.db.database import Database, engine_options, engine_url
from app.errors import SettingsError
from app.models import Base
from app.ops.health import Health
from app.ops.service_state import ServiceState
from app.search.pages import UserPages
from app.search.planner_stats import PlannerStats

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
        return resources().redis if has_app_context() else _guest_redis()
    except SettingsError as error:
        # `flask` looks at every name of this package for an application, and goes on after this error alone.
        raise RuntimeError(str(error)) from None


cache = cast("redis_client.Redis", LocalProxy(_redis))
"""A plain Redis client, for guests. It raises when Redis is away; services use `answers()` instead."""


class Resources:
    """What one application holds open: made by create_app, found through `resources`."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.state = ServiceState()
        self.database = Database(settings, self.state, engine)
        # A row for each worker, and the first one for the change poller.
        self.generations = Generations(1 + settings.worker_count)
        self.known_changes = KnownChanges(self.generations)
        self.local_cache = LocalCache(
            self.generations, settings.cache_memory_bytes // settings.worker_count, settings.cache_ttl_s
        )
        self.redis: redis_client.Redis = open_client(settings.redis_address, timeout_s=2)
        self.redis_answers = RedisAnswers(
            settings.redis_address,
            settings.redis_timeout_ms / 1000,
            settings.cache_ttl_s,
            generations=self.generations,
            known_changes=self.known_changes,
        )
        self.answers: Answers = self.redis_answers if settings.cache_ttl_s else NoAnswers()
        self.planner_stats = PlannerStats(self.database)
        self.user_pages = UserPages(self.database, self.answers, self.planner_stats)
        self.health = Health(
            self.state,
            self.database.connect_autocommit,
            self.database.breaker,
            self.redis_answers.ping,
            self.redis.ping,
        )
        self._parts: dict[Any, Any] = {}
        self._endings: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def part(self, kind: Callable[["Resources"], Part]) -> Part:
        """The one `kind(self)` of this application, made when it is first asked for."""
        with self._lock:
            if kind not in self._parts:
                self._parts[kind] = kind(self)
            return cast("Part", self._parts[kind])

    def at_close(self, end: Callable[[], None]) -> None:
        """Call `end` when the application closes: for what a part holds open itself."""
        self._endings.append(end)

    def close(self) -> None:
        """Close every connection."""
        for end in self._endings:
            end()
        self.health.close()
        self.database.close()
        self.redis_answers.close()
        self.redis.close()
        self.known_changes.close()
        self.generations.close()
        self.state.close()


def resources() -> Resources:
    """What the current application holds open."""
    return cast("Resources", current_app.extensions["fullstack"])


def answers() -> Answers:
    """The cache of expensive answers, which all hosts share."""
    return resources().answers


def local_cache() -> LocalCache:
    """The cache of this process."""
    return resources().local_cache


def generations() -> Generations:
    """When each key was last invalidated on this host."""
    return resources().generations


@contextlib.contextmanager
def reading() -> Iterator[Connection]:
    """See Database.connection."""
    with resources().database.connection() as connection:
        yield connection


def asked(statement: Statement, *values: object, longest_s: float | None = None) -> PGresult:
    """See Database.execute_prepared."""
    return resources().database.execute_prepared(statement, *values, timeout_s=longest_s)


@contextlib.contextmanager
def writing(key: Hashable | None = None) -> Iterator[Connection]:
    """See Database.transaction."""
    with resources().database.transaction(key) as connection:
        yield connection


@functools.cache
def _guest_engine() -> Engine:
    """As the owner of the tables: whoever has a shell here is the operator."""
    settings = load_settings()
    connect_as_owner = functools.partial(connect, settings.database_conninfo, settings.database_timeout_s)
    return create_engine(engine_url(settings), creator=connect_as_owner, **engine_options(settings))
