"""Connections of the pool that hot statements hand on to each other.

What SQLAlchemy's pool does to lend a connection and to take it back costs a third of a statement that finds one row.
"""

import time
from typing import NamedTuple, cast

from sqlalchemy import Engine, PoolProxiedConnection

from app.infra.postgres import DeadlineConnection

_LONGEST_S = 60.0
"""After so long one goes back to the pool, which knows when it is to be replaced."""


class Borrowed(NamedTuple):
    """A connection as the pool lent it, itself, and since when (time.monotonic)."""

    lent: PoolProxiedConnection
    connection: DeadlineConnection
    since_s: float


class Borrowing:
    """At most `most` are kept while nobody uses them; the others are the pool's. Safe for threads."""

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine, self._most = engine, most
        self._idle: list[Borrowed] = []

    def borrow(self) -> Borrowed:
        """The one that was used last, or one of the pool. Raises: what the pool does"""
        while self._idle:
            try:
                borrowed = self._idle.pop()
            except IndexError:
                break
            if not borrowed.connection.has_ended():
                return borrowed
            # The pool looks at it again, and at all others.
            borrowed.lent.close()
        lent = self._engine.raw_connection()
        return Borrowed(lent, cast("DeadlineConnection", lent.driver_connection), time.monotonic())

    def keep(self, borrowed: Borrowed) -> None:
        """It has done what it was borrowed for, and nothing went wrong."""
        if len(self._idle) < self._most and time.monotonic() - borrowed.since_s < _LONGEST_S:
            self._idle.append(borrowed)
        else:
            borrowed.lent.close()

    def give_back(self) -> None:
        """Let the pool have all that idle, as before its end."""
        while self._idle:
            self._idle.pop().lent.close()
