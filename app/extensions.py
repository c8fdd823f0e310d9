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

import psycopg
import redis as redis_client
import structlog
from flask import current_app, has_app_context
from flask.globals import app_ctx
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session as FlaskSession
from psycopg.pq.abc import PGresult
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy import exc as sql_errors
from werkzeug.local import LocalProxy

from app.cache.generations import Generations
from app.cache.known_changes import KnownChanges
from app.cache.local import LocalCache
from app.cache.redis_answers import Answers, NoAnswers, RedisAnswers
from app.cache.redis_client import open_client
from app.config import Settings, load_settings
from app.db.connection import (
    LOCK_WAIT_MS,
    MARK,
    DeadlineConnection,
    Statement,
    as_texts,
    can_connect,
    connect,
    is_bad_data,
    is_lost_connection,
    replace_if_ended,
)
from app.db.write_slots import WriteTurns
from app.errors import N_, Busy, Malformed, SettingsError, Unavailable
from app.models import Base
from app.ops.circuit_breaker import CircuitBreaker
from app.ops.health import Health
from app.ops.service_state import Phase, ServiceState

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


class ConstraintBroken(Exception):
    """A statement broke the constraint `name`; what its transaction did is undone."""

    def __init__(self, name: str | None) -> None:
        super().__init__(name)
        self.name = name


class Resources:
    """What one application holds open: made by create_app, found through `resources`."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        event.listen(engine, "do_connect", lambda *_: self.connect(settings.database_timeout_s))
        event.listen(engine, "checkout", replace_if_ended)
        self.autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.state = ServiceState()
        self._has_tried_role = False
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
        # Half of the pool, so that those who wait for row locks leave the rest to reads.
        self.write_turns = WriteTurns(max(1, settings.database_pool_size // 2), LOCK_WAIT_MS / 1000)
        self.database = CircuitBreaker("database", self._probe_database)
        self.health = Health(
            self.state, self._connect_for_health, self.database, self.redis_answers.ping, self.redis.ping
        )
        self._parts: dict[Any, Any] = {}
        self._endings: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def connect(self, longest_s: float) -> DeadlineConnection:
        """A connection as DATABASE_ROLE, or as the owner while there is no such role.

        Raises: psycopg.OperationalError
        """
        if self.state.phase is Phase.UNMANAGED and not self._has_tried_role:
            # No launcher has found it out for this process.
            self._has_tried_role = True
            self.state.as_role = self.state.as_role or can_connect(self.settings.role_conninfo)
        return connect(conninfo_of(self.settings, self.state), longest_s)

    def connect_autocommit(self) -> DeadlineConnection:
        """The same, where each statement is a transaction of its own. Raises: psycopg.OperationalError"""
        connection = self.connect(_BACKGROUND_STATEMENT_S)
        connection.autocommit = True
        return connection

    def _connect_for_health(self, connect_s: float, statement_s: float) -> DeadlineConnection:
        connection = self.connect(connect_s)
        connection.autocommit, connection.deadline_s = True, statement_s
        return connection

    def part(self, kind: Callable[["Resources"], Part]) -> Part:
        """The one `kind(self)` of this application, made when it is first asked for."""
        with self._lock:
            if kind not in self._parts:
                self._parts[kind] = kind(self)
            return cast("Part", self._parts[kind])

    def at_close(self, end: Callable[[], None]) -> None:
        """Call `end` when the application closes: for what a part holds open itself."""
        self._endings.append(end)

    def _probe_database(self) -> None:
        with contextlib.closing(self.connect(longest_s=2)) as connection:
            connection.execute("SELECT 1")

    def close(self) -> None:
        """Close every connection."""
        for end in self._endings:
            end()
        self.health.close()
        self.database.close()
        self.redis_answers.close()
        self.redis.close()
        self.engine.dispose()
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
    """A connection in autocommit, for statements that read: each is a snapshot of its own. Raises: Unavailable"""
    held = resources()
    with _translated(held), held.autocommit.connect() as connection:
        yield connection


def asked(statement: Statement, *values: object, longest_s: float | None = None) -> PGresult:
    """What a hot statement gives, on a connection of the pool and in a transaction of its own.

    It is cancelled after `longest_s`; None: after DATABASE_TIMEOUT_S.
    Raises: Unavailable, ConstraintBroken, Busy, Malformed (a text holds U+0000)
    """
    held, given = resources(), as_texts(values)
    with _translated(held):
        lent = held.engine.raw_connection()
        try:
            return cast("DeadlineConnection", lent.driver_connection).ask(statement, given, longest_s)
        finally:
            lent.close()


def asked_within(connection: Connection, statement: Statement, *values: object) -> PGresult:
    """What a hot statement gives in the transaction that `connection` has begun. Raises: psycopg.Error, Malformed"""
    driver_connection = cast("DeadlineConnection", connection.connection.driver_connection)
    return driver_connection.ask(statement, as_texts(values))


@contextlib.contextmanager
def writing(key: Hashable | None = None) -> Iterator[Connection]:
    """One transaction, committed when the block ends and rolled back when it raises. Raises: Unavailable

    It is marked as ours, so whoever changes users or tokens in it has to write the history.
    `key`: what it changes, such as the id of a user; those of one key take turns before they take a connection.
    """
    held = resources()
    with held.write_turns.turn(key), _translated(held), held.engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT {MARK}")
        yield connection


@contextlib.contextmanager
def _translated(held: Resources) -> Iterator[None]:
    """Refuse at once while PostgreSQL is known to be away; say so when it turns out to be."""
    if not held.database.up:
        raise Unavailable(N_("The database is away. Try again shortly."))
    try:
        yield
    except sql_errors.TimeoutError as error:
        raise Unavailable(N_("The service is too busy. Try again shortly.")) from error
    except (sql_errors.DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, sql_errors.DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            raise
        if is_lost_connection(cause):
            held.database.failed(cause)
        refusal = _refusal(cause)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(cause: psycopg.Error) -> Exception | None:
    """An error of PostgreSQL in the words of the domain. None: it is a fault of ours."""
    if isinstance(cause, psycopg.IntegrityError):
        return ConstraintBroken(cause.diag.constraint_name)
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return Busy(N_("Somebody else is changing the same right now. Try again shortly."))
    if is_bad_data(cause):
        log.warning("refused by the database", sqlstate=cause.sqlstate, error=cause.__class__.__name__)
        return Malformed(N_("A value of this request is out of the range that can be stored or searched."))
    if cause.sqlstate in _NOT_MIGRATED:
        return Unavailable(N_("The database is not migrated yet. `flask db upgrade` does it."))
    if isinstance(cause, (psycopg.OperationalError, psycopg.InternalError)):
        return Unavailable(N_("The database is away or too busy. Try again shortly."))
    return None


def conninfo_of(settings: Settings, state: ServiceState) -> str:
    """How the service connects: as DATABASE_ROLE once that is known to be there, before that as the owner."""
    return (settings.role_conninfo if state.as_role else None) or settings.database_conninfo


def engine_options(settings: Settings) -> dict[str, Any]:
    """What SQLAlchemy's create_engine needs beside the URL."""
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": 0,
        "pool_timeout": settings.database_timeout_s,
        "pool_recycle": 1800,
        "pool_use_lifo": True,
        # Whoever begins a transaction ends it; to roll back what never began costs a fifth of a look-up.
        "pool_reset_on_return": None,
        "hide_parameters": True,
    }


def engine_url(settings: Settings) -> URL:
    """What SQLAlchemy says of the engine: `connect` knows the rest, and the password."""
    found = settings.database_parameters
    return URL.create("postgresql+psycopg", found.get("user"), None, found.get("host"), database=found.get("dbname"))


@functools.cache
def _guest_engine() -> Engine:
    """As the owner of the tables: whoever has a shell here is the operator."""
    settings = load_settings()
    connect_as_owner = functools.partial(connect, settings.database_conninfo, settings.database_timeout_s)
    return create_engine(engine_url(settings), creator=connect_as_owner, **engine_options(settings))
