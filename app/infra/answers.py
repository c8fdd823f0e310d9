"""What was found out once and is still true: from the memory of the process, for pages then from Redis, else anew."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from app.infra.cache import Cache
from app.infra.memory import Memory
from app.infra.shared import EVERY_WRITE, SharedState, slot_of
from app.infra.shared_table import Reading, SharedTable

Value = TypeVar("Value")


class Answers:
    """The answers of one application; never fails for the sake of what keeps them.

    What concerns one thing is not asked of Redis: PostgreSQL gives it in one round trip as well. What there are very
    many of, users, is in the table that all processes of the host share.
    """

    def __init__(self, memory: Memory, table: SharedTable, pages: Cache, state: SharedState) -> None:
        self.memory, self.table = memory, table
        self._pages, self._state = pages, state

    def of_one(
        self, key: str, compute: Callable[[], Value], *, about: str | None = None, ttl_s: float | None = None
    ) -> Value:
        """The answer of `key`, until somebody forgets that key (or `about`), or for `ttl_s`.

        What `compute` raises is raised.
        """
        return self.memory.through(key, slot_of(about or key), compute, ttl_s)

    def of_all(self, key: str, compute: Callable[[], Value]) -> Value:
        """The answer of `key`, until anything at all is written. What `compute` raises is raised."""
        return self.memory.through(key, EVERY_WRITE, compute)

    def of_all_dear(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """The same of what takes PostgreSQL longer than asking Redis, where all hosts keep it."""
        return self._pages.through(key, compute)

    def forget(self, keys: Iterable[str], reading: Reading | None = None) -> bool:
        """After the commit of a write, before its answer: nobody is to be answered with what was there before.

        That is what is kept under these keys, and all pages. `reading`: of what the write left under some of them, to
        be kept in the table. Returns whether other hosts could be told.
        """
        return self._outdate([EVERY_WRITE, *map(slot_of, keys)], reading)

    def forget_alone(self, key: str) -> None:
        """The same of what is in no page."""
        self._outdate([slot_of(key)])

    def _outdate(self, slots: list[int], reading: Reading | None = None) -> bool:
        # Redis first: who sees the new stamp here must not find the old page there.
        told = self._pages.forget(slots)
        moved = self._state.touch(slots)
        if reading is not None:
            reading.renew(moved)
        return told
