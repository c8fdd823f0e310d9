"""What the change poller of a host knows of the changes by all hosts, in memory that its processes share.

A host uses a value of Redis only if the snapshot of the value includes all known changes (PollResult.accepts).
"""

import mmap
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from app.cache.generations import Generations, clock_ns

_MEMORY_BYTES = 1 << 20
"""Enough for 40,000 open transactions: each takes a connection to PostgreSQL."""
_HEAD_BYTES = 16
"""Two numbers: the sequence number of the poll result, and its length."""
_MAX_TRIES = 100


class Snapshot(NamedTuple):
    """A snapshot of PostgreSQL (pg_snapshot, section 9.27 of the manual)."""

    xmin: int
    xmax: int
    in_progress: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Read `xmin:xmax:xid,xid`. Raises: ValueError"""
        xmin, xmax, xids = text.split(":")
        return cls(int(xmin), int(xmax), tuple(map(int, filter(None, xids.split(",")))))

    def sees(self, xid: int) -> bool:
        """Whether the transaction `xid` had ended when the snapshot was taken."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.in_progress)


class PollResult(NamedTuple):
    """What the poller knows after a poll.

    began_ns: the start of the poll (clock_ns). incarnation: of the database. snapshot: of the poll. xids: the last
    transactions that changed users. floor: the maximum of all earlier ones.
    """

    began_ns: int
    incarnation: str
    snapshot: Snapshot
    xids: tuple[int, ...]
    floor: int

    def accepts(self, read_at: Snapshot) -> bool:
        """Whether a value that was read at a snapshot includes all changes that the poller has found."""
        return self.floor < read_at.xmin and all(map(read_at.sees, self.xids))


class KnownChanges:
    """The result of the last poll, in memory that all processes of the host share.

    A seqlock protects it: only one process writes.
    """

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._memory = mmap.mmap(-1, _MEMORY_BYTES)
        self._numbers = memoryview(self._memory)[:_HEAD_BYTES].cast("Q")
        self._created_ns = clock_ns()
        self._last: tuple[int, PollResult] | None = None

    def publish(self, poll: PollResult) -> None:
        """Replace the result. For the poller."""
        data = orjson.dumps((poll.began_ns, poll.incarnation, [*poll.snapshot], poll.xids, poll.floor))
        # The sequence number is odd during a write, also if the writer was killed.
        writing = self._numbers[0] | 1
        self._numbers[0] = writing
        self._numbers[1] = len(data)
        self._memory[_HEAD_BYTES : _HEAD_BYTES + len(data)] = data
        self._numbers[0] = writing + 1

    def last_poll(self, keys: Iterable[str]) -> PollResult | None:
        """The result of the last poll. None: there is no lease, or it lacks a change of `keys` by this host."""
        if not self._generations.has_lease():
            return None
        poll = self._read()
        changed_ns = self._generations.latest(self._generations.slots_of(keys), by_poller=False)
        # The poller has found the changes that this host made before the poll began.
        return poll if poll is not None and changed_ns < poll.began_ns else None

    def lag_s(self) -> float:
        """The time since the last poll, or else since the start; 0 while the poller sleeps."""
        poll = self._read()
        since_ns = self._created_ns if poll is None else poll.began_ns
        return 0.0 if self._generations.poller_sleeps else max(0, clock_ns() - since_ns) / 1e9

    def close(self) -> None:
        """Release the memory in this process."""
        self._numbers.release()
        self._memory.close()

    def _read(self) -> PollResult | None:
        for _ in range(_MAX_TRIES):
            sequence, length = self._numbers[0], self._numbers[1]
            if self._last is not None and self._last[0] == sequence:
                return self._last[1]
            data = self._memory[_HEAD_BYTES : _HEAD_BYTES + length]
            if sequence and not sequence & 1 and self._numbers[0] == sequence:
                began_ns, incarnation, (xmin, xmax, in_progress), xids, floor = orjson.loads(data)
                poll = PollResult(began_ns, incarnation, Snapshot(xmin, xmax, tuple(in_progress)), tuple(xids), floor)
                self._last = (sequence, poll)
                return poll
        return None
