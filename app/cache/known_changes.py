"""Which changes this host knows of, for values that hosts share: published by the change poller, read by workers."""

import mmap
import struct
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from app.cache.generations import Generations

_BYTES = 1 << 16
_HEAD = struct.Struct("@QQ")
_TRIES = 100
_MOST_IN_PROGRESS = 500


class Snapshot(NamedTuple):
    """A snapshot of PostgreSQL: which transactions it sees (pg_snapshot, section 9.27 of the manual)."""

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

    def shortened(self) -> "Snapshot":
        """A snapshot with a bounded list that sees nothing that this one does not see."""
        if len(self.in_progress) <= _MOST_IN_PROGRESS:
            return self
        kept = tuple(sorted(self.in_progress))
        return Snapshot(self.xmin, kept[_MOST_IN_PROGRESS], kept[:_MOST_IN_PROGRESS])

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.in_progress))}"


class View(NamedTuple):
    """What the poller knew after one question.

    asked_ns: when it asked (clock_ns). incarnation: of the database. snapshot: what the answer saw. xids: the last
    transactions that changed users and that this host has heard of; floor: all others it has heard of are at most that.
    """

    asked_ns: int
    incarnation: str
    snapshot: Snapshot
    xids: tuple[int, ...]
    floor: int

    def accepts(self, read_at: Snapshot) -> bool:
        """Whether a value that was read at a snapshot includes every change that this host has heard of."""
        return self.floor < read_at.xmin and all(map(read_at.sees, self.xids))


class KnownChanges:
    """The last view, in memory that all processes of the host share. One process writes; a sequence lock, no mutex."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations
        self._memory = mmap.mmap(-1, _BYTES)
        self._numbers = memoryview(self._memory)[: _HEAD.size].cast("Q")
        self._last: tuple[int, View] | None = None

    def publish(self, view: View) -> None:
        """Replace the view. The poller's."""
        fields = (view.asked_ns, view.incarnation, str(view.snapshot.shortened()), view.xids, view.floor)
        data = orjson.dumps(fields)
        # Odd while the bytes are being replaced, also when the process that did so has died.
        writing = self._numbers[0] | 1
        self._numbers[0] = writing
        self._numbers[1] = len(data)
        self._memory[_HEAD.size : _HEAD.size + len(data)] = data
        self._numbers[0] = writing + 1

    def view(self, keys: Iterable[str]) -> View | None:
        """The last view, if the lease holds and it includes every change of `keys` by this host, else None."""
        if not self._generations.has_lease():
            return None
        view = self._read()
        # A change of this host that was answered before the question was asked has been heard.
        is_heard = (
            view is not None and self._generations.changed_here_ns(self._generations.slots_of(keys)) < view.asked_ns
        )
        return view if is_heard else None

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._memory.close()

    def _read(self) -> View | None:
        for _ in range(_TRIES):
            sequence, length = self._numbers[0], self._numbers[1]
            if sequence and not sequence & 1:
                if self._last is not None and self._last[0] == sequence:
                    return self._last[1]
                data = self._memory[_HEAD.size : _HEAD.size + length]
                if self._numbers[0] == sequence:
                    view = _parsed(data)
                    self._last = (sequence, view)
                    return view
        return None


def _parsed(data: bytes) -> View:
    asked_ns, incarnation, snapshot, xids, floor = orjson.loads(data)
    return View(asked_ns, incarnation, Snapshot.parse(snapshot), tuple(xids), floor)
