"""What one process remembers: answers, coherent with every write of this host and, under a lease, of others.

An answer is kept with the stamp that its slot had before it was read (infra.shared). A writer gives the slot another
stamp after its commit and before it answers, so whoever asks after that answer never gets an older one. Without a
lease nothing is remembered: other hosts may have written.
"""

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from app.infra.flights import Flights
from app.infra.shared import SharedState

Value = TypeVar("Value")

_OVERHEAD = 400
"""Bytes that an entry takes beside its key and its value, about: the objects around them, its place in the table."""
_OURS = "app."
"""Objects of these modules are looked into."""
_OTHER_BYTES = 64
"""What an object of another module, such as a UUID, holds beside itself, about."""
_GREATEST_SHARE = 8
"""No entry takes more than one in so many of all bytes."""


_Entry = tuple[Any, int, int, int, int]
"""An answer, its slot and the stamp of then, until when it is good (time.monotonic_ns), and what it takes.

A plain tuple: one of bytes, text and numbers, and of such tuples, the garbage collector forgets. At objects it looks
again and again: with 30,000 pages kept as such one search in a hundred took 85 ms.
"""


class Memory:
    """The least recently used go when it is full. Safe for threads.

    `most_bytes`: what all entries may take, about; 0: nothing is kept. `ttl_s`: the greatest age of an answer, for
    changes that nobody told us of (somebody's SQL).
    """

    def __init__(self, state: SharedState, most_bytes: int, ttl_s: float) -> None:
        self._slots, self._epoch, self._lease, self.stamp = state.slots, state.epoch, state.lease, state.stamp
        self._asked = state.asked
        self._most_bytes, self._ttl_s = most_bytes, ttl_s
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._flights = Flights()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def usable(self) -> bool:
        """Whether anything may be kept and recalled now."""
        if not self._most_bytes:
            return False
        self._asked[0] = now = time.monotonic_ns()
        return now < self._lease[0]

    def recall(self, key: Hashable) -> Any:
        """What is kept under `key` and good now, else None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._asked[0] = now = time.monotonic_ns()
        if now >= entry[3] or now >= self._lease[0]:
            return None
        # After the lease: a stamp that was seen before it may lack what was heard just before it was given.
        if self._slots[entry[1]] ^ self._epoch[0] != entry[2]:
            return None
        try:
            self._entries.move_to_end(key)
        except KeyError:
            # Another thread made room just now, which makes nothing old.
            return entry[0]
        return entry[0]

    def through(self, key: Hashable, slot: int, compute: Callable[[], Value], ttl_s: float | None = None) -> Value:
        """The answer of `key`: kept, or computed now (once for a herd that asks at once) and then kept.

        `slot`: whose writes make it old. `ttl_s`: its greatest age, where that is to be less. What `compute` raises
        is raised.
        """
        found: Value | None = self.recall(key)
        if found is not None:
            return found
        if not self.usable:
            return compute()
        stamp = self.stamp(slot)

        def computed() -> Value:
            value = compute()
            self.keep(key, value, slot, stamp, ttl_s)
            return value

        # The stamp is part of the flight: who asks after a write never shares an answer from before it.
        return self._flights.share((key, stamp), computed)

    def keep(self, key: Hashable, value: object, slot: int, stamp: int, ttl_s: float | None = None) -> None:
        """Keep an answer that was read after the `stamp` of its slot."""
        until_ns = time.monotonic_ns() + int(1e9 * min(self._ttl_s, ttl_s or self._ttl_s))
        self._put(key, (value, slot, stamp, until_ns, _entry_bytes(key, value)))

    def derive(self, other: Hashable, key: Hashable, value: Any) -> None:
        """Let `value`, which was made of what is kept under `key`, be found under `other` as long as that is good."""
        entry = self._entries.get(key)
        if entry is not None:
            self._put(other, (value, *entry[1:4], _entry_bytes(other, value)))

    def _put(self, key: Hashable, entry: _Entry) -> None:
        size = entry[4]
        if size > self._most_bytes // _GREATEST_SHARE:
            return
        with self._lock:
            earlier = self._entries.pop(key, None)
            self._bytes += size - (earlier[4] if earlier else 0)
            self._entries[key] = entry
            while self._bytes > self._most_bytes:
                self._bytes -= self._entries.popitem(last=False)[1][4]


def _entry_bytes(key: Hashable, value: object) -> int:
    return _OVERHEAD + _bytes(key) + _bytes(value)


def _bytes(value: object) -> int:
    """What an object takes with all that it holds. What several objects share counts for each of them."""
    size, held = sys.getsizeof(value), list[object]()
    if isinstance(value, dict):
        held += [*value, *value.values()]
    elif isinstance(value, (tuple, list, set, frozenset)):
        held += value
    elif type(value).__module__.startswith(_OURS):
        names = [*getattr(value, "__dict__", ()), *getattr(value, "__slots__", ())]
        held += [getattr(value, name, None) for name in names]
    elif not isinstance(value, (bytes, str, int, float)):
        size += _OTHER_BYTES
    return size + sum(map(_bytes, held))
