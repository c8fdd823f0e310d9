"""Runs `python -m app` with some of its mechanisms replaced by plainer ones: python bench/rig/replaced.py PART+PART

The product has no switch for this. Until create_app takes its parts as arguments, names of its modules are patched
here, and only here, before the service starts: a name that is gone ends the run.
"""

import gc
import hashlib
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

import psycopg
from granian.constants import Interfaces
from granian.server import MPServer

import app.__main__ as service
from app import extensions, factory
from app.extensions import holding
from app.infra import borrowing, cache, flights, postgres, shared_table, together
from app.infra.shared import EVERY_WRITE, slot_of
from app.services import hot_users, limiting, tokens
from app.services.keys import user_key
from app.web import express, express_pages, express_writes, serving, watching

_NEVER = 10**12
_THREADS = 64


def _patch(place: Any, name: str, value: Any) -> None:
    """Replace what is there. Raises: AttributeError when it is not"""
    getattr(place, name)
    setattr(place, name, value)


def lane() -> None:
    """Flask answers all requests; nothing is answered by the event loop."""
    _patch(factory, "install_express", lambda _: None)
    _patch(serving.AsgiApp, "_from_memory", lambda *_: None)


def wsgi() -> None:
    """Granian calls the WSGI application in its own threads."""
    init = MPServer.__init__

    def with_threads(self: MPServer, *args: Any, **options: Any) -> None:
        init(self, *args, **{**options, "interface": Interfaces.WSGI, "blocking_threads": _THREADS})

    _patch(MPServer, "__init__", with_threads)
    _patch(service, "AsgiApp", lambda application: application)
    # No event loop runs that would let signals in again.
    _patch(signal, "pthread_sigmask", lambda *_: None)


def response() -> None:
    """A response cache before Flask, which knows no services: see docs of ResponseCache."""
    _patch(factory, "install_express", lambda app: setattr(app, "wsgi_app", ResponseCache(app, app.wsgi_app)))


class ResponseCache:
    """GET by token: 200 answers are kept by role, host, path and query, in the memory of the process."""

    def __init__(self, app: Any, inner: Callable[..., Iterable[bytes]]) -> None:
        self._held = app.extensions["fullstack"]
        self._inner, self._memory, self._state = inner, self._held.answers.memory, self._held.state
        self._uses = self._held.part(tokens.Uses)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer from memory, or let Flask answer and keep it."""
        if environ["REQUEST_METHOD"] != "GET" or "HTTP_AUTHORIZATION" not in environ or self._is_special(environ):
            return () if express.MEMORY_ONLY in environ else self._inner(environ, start_response)
        began = time.perf_counter()
        digest = hashlib.sha256(environ["HTTP_AUTHORIZATION"].encode("latin-1")).digest()
        actor = self._memory.recall(digest)
        is_admitted = actor is not None and not actor.is_over() and not self._uses.is_due(actor.id)
        if is_admitted:
            found = self._memory.recall(self._place(actor, environ))
            if found is not None:
                headers, body = found
                request_id = watching.id_for(environ.get("HTTP_X_REQUEST_ID", ""))
                start_response("200 OK", [*headers, ("X-Request-ID", request_id)])
                watching.note("GET", environ["PATH_INFO"], 200, began, request_id)
                return [body]
        if express.MEMORY_ONLY in environ:
            return ()
        return self._kept(environ, start_response, digest)

    def _kept(self, environ: dict[str, Any], start_response: Callable[..., Any], digest: bytes) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        slot = EVERY_WRITE if path.endswith("/users") else slot_of(user_key(path.rpartition("/")[2]))
        stamp, usable = self._state.stamp(slot), self._memory.usable
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            started[:] = status, headers
            return start_response(status, headers)

        body = b"".join(self._inner(environ, start))
        if usable and started[0].startswith("200"):
            secret = environ["HTTP_AUTHORIZATION"][7:]
            with holding(self._held):
                actor = tokens.known(secret)
            self._memory.derive(digest, tokens.key_of(secret), actor)
            headers = tuple(pair for pair in started[1] if pair[0] != "X-Request-ID")
            self._memory.keep(self._place(actor, environ), (headers, body), slot, stamp)
        return [body]

    @staticmethod
    def _is_special(environ: dict[str, Any]) -> bool:
        return any(name in environ for name in ("HTTP_COOKIE", "HTTP_IF_NONE_MATCH", "HTTP_PREFER", "HTTP_RANGE"))

    @staticmethod
    def _place(actor: Any, environ: dict[str, Any]) -> tuple[str, ...]:
        host, scheme = environ.get("HTTP_HOST", ""), environ["wsgi.url_scheme"]
        return actor.actor.role, host, scheme, environ["PATH_INFO"], environ["QUERY_STRING"]


def table() -> None:
    """Users are read from PostgreSQL unless the response cache has them."""
    init = shared_table.SharedTable.__init__
    _patch(shared_table.SharedTable, "__init__", lambda self, state, _, ttl_s: init(self, state, 2**20, ttl_s))
    _patch(shared_table.SharedTable, "usable", False)  # noqa: FBT003
    _patch(shared_table.SharedTable, "recall", lambda *_: None)


def ahead() -> None:
    """Users are read when they are asked for."""
    _patch(hot_users, "_FIRST_REST", _NEVER)


def pages() -> None:
    """Every write invalidates every page."""
    _patch(express_pages, "_settled", lambda *_: ())


def idle() -> None:
    """Each statement takes a connection of SQLAlchemy's pool and gives it back."""
    _patch(extensions, "Borrowing", lambda engine, _: borrowing.Borrowing(engine, 0))


def pool() -> None:
    """Prepared statements have a psycopg_pool."""
    _patch(extensions, "Borrowing", PsycopgPool)


class PsycopgPool:
    """A psycopg_pool with the interface of Borrowing. Its threads start with the first connection."""

    def __init__(self, engine: Any, most: int) -> None:
        self._engine, self._most, self._pool = engine, most, None

    def borrow(self) -> Any:
        """A connection of the pool."""
        opened = self._opened()
        connection = opened.getconn()
        return SimpleNamespace(
            connection=connection, lent=SimpleNamespace(close=lambda: (connection.close(), opened.putconn(connection)))
        )

    def keep(self, borrowed: Any) -> None:
        """Give it back."""
        self._opened().putconn(borrowed.connection)

    def give_back(self) -> None:
        """Close all."""
        if self._pool is not None:
            self._pool.close()

    def _opened(self) -> Any:
        if self._pool is None:
            from psycopg_pool import ConnectionPool  # noqa: PLC0415 - only this variant needs it

            held = extensions.resources()

            class Connection(postgres.DeadlineConnection):
                @classmethod
                def connect(cls, *_: Any, **__: Any) -> Any:
                    return held.connect(held.settings.database_timeout_s)

            self._pool = ConnectionPool("", connection_class=Connection, min_size=1, max_size=self._most)
        return self._pool


def libpq() -> None:
    """Statements go through psycopg's cursor for placeholders of PostgreSQL's own."""

    def ask(self: Any, statement: Any, values: Any, _: float | None = None) -> Any:
        in_transaction = self.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE
        self._autocommit = not in_transaction
        # None, as the service has it, would prepare nothing.
        self.prepare_threshold = 0 if statement.name else None
        try:
            cursor = psycopg.RawCursor(self)
            texts = [None if value is None else value.decode() for value in values]
            cursor.execute(statement.sql, texts, prepare=bool(statement.name))
            return cursor.pgresult
        finally:
            self._autocommit = False

    _patch(postgres.DeadlineConnection, "ask", ask)


def _alone(self: Any, key: Any) -> Any:
    return self._look_up([key]).get(key)


def group() -> None:
    """Each write is a statement of its own; several run at once."""
    get = together.Together.get
    _patch(
        together.Together,
        "get",
        lambda self, key: _alone(self, key) if self._look_up.__name__ == "_write_together" else get(self, key),
    )


def batch() -> None:
    """Each look-up of a user is a statement of its own; several run at once."""
    get = together.Together.get
    _patch(
        together.Together,
        "get",
        lambda self, key: _alone(self, key) if self._look_up.__name__ != "_write_together" else get(self, key),
    )


def flight() -> None:
    """Equal computations are each done."""
    _patch(flights.Flights, "share", lambda _, __, compute: compute())


def redis() -> None:
    """Searches and counts are computed when the process does not remember them."""
    _patch(cache.RedisCache, "through", lambda _, __, compute: compute())


def telling() -> None:
    """A write tells nobody."""
    _patch(cache.RedisCache, "forget", lambda *_: True)


def count() -> None:
    """Writes are not counted against a quota."""
    _patch(limiting, "count_write", lambda _: None)
    _patch(express_writes, "limiting", limiting)


def warm() -> None:
    """The first requests do what they do once and for all."""
    _patch(service, "rehearse", lambda _: None)


def freeze() -> None:
    """The collector looks at what the launcher made."""
    _patch(gc, "freeze", lambda: None)


def replace(parts: str) -> None:
    """Replace all that is named, joined by `+`."""
    for part in filter(None, parts.split("+")):
        globals()[part]()


if __name__ == "__main__":
    replace(sys.argv[1])
    sys.argv[1:] = []
    sys.exit(service.main())
