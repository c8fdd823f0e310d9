"""Hears from PostgreSQL what was changed by somebody's SQL, as in Adminer, and makes old all that is kept of it.

The service says itself what it changes (infra.cache), and on CHANNEL what it could not say through Redis. For all
others triggers of `users` and `tokens` notify CHANNEL, and one thread for each host, beside the courier, listens. While
it does, users may be kept for longer than CACHE_TTL_S; for as long after a loss nobody is told anything older. While
nobody wants memory it listens, but does not ask whether it still hears.

After writes it also puts the words of users into their index, once a second: else whoever finds the list of those
that wait full (models) does it for a hundred others, which takes seconds where nothing of the index is cached.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from app.infra.postgres import connect
from app.infra.shared import EVERY_WRITE, SharedState

CHANNEL = "fullstack_app_sql"
_TIDY = "SELECT gin_clean_pending_list_of_users()"
_ASK_EVERY_S = 1.0
_IDLE_LOOK_S = 5.0
"""While nobody wants memory, it looks that often whether somebody does again."""
_LONGEST_IDLE_S = 60.0
"""After so long it asks all the same, so that nothing between here and PostgreSQL forgets the connection."""
_PATIENCE_S = 5.0
_PAUSE_S = 1.0
_START_LOOK_S = 0.05
_GATHER_S = 0.02


class Watch:
    """Runs from `start` to `close`; comes back by itself when PostgreSQL does. `ttl_s`: CACHE_TTL_S.

    `conninfo` gives how to connect, which is known once the database is prepared.
    """

    def __init__(self, conninfo: Callable[[], str], state: SharedState, ttl_s: float) -> None:
        self._conninfo, self._state, self._ttl_ns = conninfo, state, int(1e9 * ttl_s)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._state.watched[0] = 0

    def _run(self) -> None:
        while self._state.is_starting and not self._closed.wait(_START_LOOK_S):
            # Nothing to listen to before the database is migrated.
            continue
        while not self._closed.is_set():
            with contextlib.suppress(psycopg.Error, OSError):
                self._listen()
            self._closed.wait(_PAUSE_S)

    def _listen(self) -> None:
        """Until closed. Raises: psycopg.Error"""
        with contextlib.closing(connect(self._conninfo(), longest_s=_PATIENCE_S)) as connection:
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            # Nobody knows what was told before.
            self._outdate()
            due_ns, tidied = 0, None
            while not self._closed.is_set():
                is_asked, now_ns = self._state.is_asked, time.monotonic_ns()
                if is_asked or now_ns >= due_ns:
                    connection.execute("SELECT 1")
                    self._state.watched[0] = now_ns + self._ttl_ns
                    due_ns = now_ns + int(1e9 * _LONGEST_IDLE_S)
                written = self._state.stamp(EVERY_WRITE)
                if written != tidied:
                    tidied = written
                    _tidy(connection)
                # Not for psycopg to wait, which wakes ten times a second.
                if connection.answers_within(int(1000 * (_ASK_EVERY_S if is_asked else _IDLE_LOOK_S))):
                    # Whoever writes much is heard a few times a second.
                    self._closed.wait(_GATHER_S)
                heard = [*connection.notifies(timeout=0)]
                if any(notice.payload != str(self._state.host) for notice in heard):
                    self._outdate()

    def _outdate(self) -> None:
        # Pages in Redis first, which the courier makes old for all hosts.
        self._state.doubt()
        self._state.touch_all()


def _tidy(connection: psycopg.Connection[Any]) -> None:
    # It takes too long, or we may not do it: then writers do it.
    with contextlib.suppress(psycopg.errors.QueryCanceled, psycopg.ProgrammingError):
        connection.execute(_TIDY)
