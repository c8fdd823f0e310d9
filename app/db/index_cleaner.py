"""Merges the pending list of the search index in the background, after changes.

PostgreSQL collects the entries of written users in a list (GIN fastupdate). The statement that fills the list merges
it into the index, which takes seconds if the index is not cached. This thread does so once a second instead.
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
    """A thread. `connect`: opens a connection to PostgreSQL in autocommit mode."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._requested = threading.Event()

    def start(self) -> None:
        """Start the thread. It runs until the process ends."""
        threading.Thread(target=self._run, name="index-cleaner", daemon=True).start()

    def request(self) -> None:
        """Request a merge, because users were written."""
        self._requested.set()

    def _run(self) -> None:
        while True:
            # If it fails (a time-out, a missing right), writers merge the list.
            with contextlib.suppress(psycopg.Error, OSError), contextlib.closing(self._connect()) as connection:
                while True:
                    self._requested.wait()
                    self._requested.clear()
                    connection.execute(_CLEAN)
                    time.sleep(_PAUSE_S)
            time.sleep(_PAUSE_S)
