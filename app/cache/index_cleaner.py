"""Merges the pending list of the search index in the background, after changes.

PostgreSQL collects the entries of written users in a list (GIN fastupdate). Whoever finds it full merges it into the
index, which takes seconds where the index is not cached: so it is done here, once a second, and not by a request.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

_CLEAN = "SELECT gin_clean_pending_list_of_users()"
_PAUSE_S = 1.0


class IndexCleaner:
    """A thread. `connect`: opens a connection to PostgreSQL in autocommit."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._requested = threading.Event()

    def start(self) -> None:
        """Run until the process ends."""
        threading.Thread(target=self._run, name="index-cleaner", daemon=True).start()

    def request(self) -> None:
        """Users were written."""
        self._requested.set()

    def _run(self) -> None:
        while True:
            # When it fails, because it takes too long or the role may not do it, writers do it themselves.
            with contextlib.suppress(psycopg.Error, OSError), contextlib.closing(self._connect()) as connection:
                while True:
                    self._requested.wait()
                    self._requested.clear()
                    connection.execute(_CLEAN)
                    time.sleep(_PAUSE_S)
            time.sleep(_PAUSE_S)
