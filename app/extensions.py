"""The database and Redis: created unbound, no connection on import.

`db` and `cache` are what guests get (the exercise's shell, `flask shell`): they also
work without an application, from the environment. Services use `asked`, `reading`,
`writing` and `answers`.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
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

from app.config import Settings, load_settings
from app.errors import N_, Busy, Malformed, SettingsError, Unavailable
from app.infra.answers import Answers
from app.infra.borrowing import Borrowing
from app.infra.cache import NullCache, RedisCache, open_client
from app.infra.link import Link
from app.infra.memory import Memory
from app.infra.postgres import (
    LOCK_WAIT_MS,
    MARK,
    DeadlineConnection,
    Statement,
    as_texts,
    connect,
    is_bad_data,
    is_lost_connection,
    replace_if_ended,
)
from app.infra.shared import SharedState
from app.infra.shared_table import SharedTable
from app.infra.write_turns import WriteTurns
from app.models import Base

log = structlog.get_logger(__name__)

_NOT_MIGRATED = ("42P01", "42703")  # undefined table, undefined column
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
        self.state = SharedState(settings.state_path)
        self.redis: redis_client.Redis = open_client(settings.redis_address, timeout_s=2)
        self.redis_cache = RedisCache(
            settings.redis_address, settings.redis_timeout_ms / 1000, settings.cache_ttl_s, self.state
        )
        # Half for users, which all workers share; of the other half each worker has its part.
        kept_bytes = settings.cache_memory_bytes // 2 if settings.keeps_answers else 0
        self.answers = Answers(
            Memory(self.state, kept_bytes // settings.worker_count, settings.cache_ttl_s),
            SharedTable(self.state, kept_bytes, settings.cache_ttl_s),
            self.redis_cache if settings.cache_ttl_s else NullCache(),
            self.state,
        )
        # Half of the pool at the most, so that all else never lacks what idles here.
        self.borrowing = Borrowing(engine, settings.database_pool_size // 2)
        # Half of the pool, so that those who wait for row locks leave the rest to reads.
        self.write_turns = WriteTurns(max(1, settings.database_pool_size // 2), LOCK_WAIT_MS / 1000)
        self.database = Link("database", self._probe_database)
        self._parts: dict[Any, Any] = {}
        self._endings: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def connect(self, longest_s: float) -> DeadlineConnection:
        """A connection as DATABASE_ROLE, or as the owner while there is no such role.

        Raises: psycopg.OperationalError
        """
        return connect(conninfo_of(self.settings, self.state), longest_s)

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
        self.database.close()
        self.redis_cache.close()
        self.redis.close()
        self.borrowing.give_back()
        self.engine.dispose()
        self.answers.table.close()
        self.state.close()


_held: ContextVar[Resources | None] = ContextVar("held", default=None)


def resources() -> Resources:
    """What the current application holds open."""
    return _held.get() or cast("Resources", current_app.extensions["fullstack"])


@contextlib.contextmanager
def holding(held: Resources) -> Iterator[None]:
    """Let services run inside the block without Flask's context, whose price is that of a look-up."""
    token = _held.set(held)
    try:
        yield
    finally:
        _held.reset(token)


def answers() -> Answers:
    """What was found out once and is still true."""
    return resources().answers


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
        borrowed = held.borrowing.borrow()
        try:
            found = borrowed.connection.ask(statement, given, longest_s)
        except BaseException:
            borrowed.lent.close()
            raise
        held.borrowing.keep(borrowed)
        return found


def asked_within(connection: Connection, statement: Statement, *values: object) -> PGresult:
    """What a hot statement gives in the transaction that `connection` has begun. Raises: psycopg.Error, Malformed"""
    borrowed = cast("DeadlineConnection", connection.connection.driver_connection)
    return borrowed.ask(statement, as_texts(values))


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


def conninfo_of(settings: Settings, state: SharedState) -> str:
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
