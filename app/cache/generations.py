"""Generations: when each key was last invalidated, in memory that all processes of one host share.

A cached value is valid while its reading began later than the generation of each of its keys. A writer invalidates its
keys after the commit and before the answer, so a read that begins after the answer never gets the older value.
Changes of other hosts, and by SQL, are invalidated by the change poller, which also holds the lease: without a lease
nobody knows what others have changed, and cached values are not used.
"""

import contextlib
import mmap
import os
import select
import struct
import threading
import time
import zlib
from collections.abc import Iterable

SLOTS = 1 << 16
"""Keys that fall into one slot are invalidated together."""
_ALL = 0
POLLER_ROW = 0
"""The row of the change poller; the others are those of workers."""
_LEASE, _LAST_READ, _POLLER_SLEEPS = range(3)
_HEAD = 8
_NOTED_EVERY_NS = 10**9
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

Slots = tuple[int, ...]
"""The places of some keys, as `Generations.slots_of` gives them."""


def clock_ns() -> int:
    """Nanoseconds since the machine started, the same in all processes; goes on while the machine sleeps."""
    return time.clock_gettime_ns(_CLOCK)


class Generations:
    """Safe for threads, and for processes that are forked after it was made.

    Each process writes a row of its own, and readers take the greatest of all rows. So processes share no lock, and
    one that is killed leaves nothing locked. `processes`: how many rows there are. A process that takes the place of
    another one continues its row.
    """

    def __init__(self, processes: int = 1) -> None:
        self._rows, self._row = processes, min(POLLER_ROW + 1, processes - 1)
        self._memory = mmap.mmap(-1, 8 * (_HEAD + SLOTS * processes))
        self._numbers = memoryview(self._memory).cast("Q")
        # Native sizes: each number is copied whole.
        self._unpack = struct.Struct(f"@{processes}Q").unpack_from
        self._lock = threading.Lock()
        self._wake_up, self._waker = os.pipe()
        for end in (self._wake_up, self._waker):
            os.set_blocking(end, False)

    def use_row(self, row: int) -> None:
        """Write the row `row` from now on: a number of this process alone."""
        self._row = row

    def slots_of(self, keys: Iterable[str]) -> Slots:
        """Where to look for the generations of `keys`."""
        return (_ALL, *(1 + zlib.crc32(key.encode()) % (SLOTS - 1) for key in keys))

    def invalidate(self, keys: Iterable[str]) -> None:
        """Make all values with one of `keys` invalid that were read before this call."""
        self._raise(self.slots_of(keys)[1:])

    def invalidate_all(self) -> None:
        """The same for every value."""
        self._raise((_ALL,))

    def latest(self, slots: Slots) -> int:
        """When one of `slots` was last invalidated (clock_ns)."""
        memory, unpack, width = self._memory, self._unpack, 8 * self._rows
        found: int = max([max(unpack(memory, 8 * _HEAD + width * slot)) for slot in slots])
        return found

    def changed_here_ns(self, slots: Slots) -> int:
        """When one of `slots` was last invalidated by a process other than the change poller (clock_ns)."""
        memory, unpack, width = self._memory, self._unpack, 8 * self._rows
        first = POLLER_ROW + 1
        changed: int = max([max(unpack(memory, 8 * _HEAD + width * slot)[first:], default=0) for slot in slots])
        return changed

    def may_be_used(self, slots: Slots, began_ns: int) -> bool:
        """Whether a value of these slots is valid whose reading began at `began_ns`, and the lease holds."""
        # The lease first: generations that were read before it may lack what was heard just before it was prolonged.
        return self.has_lease() and self.latest(slots) < began_ns

    def has_lease(self) -> bool:
        """Whether this host knows what others have changed; if not, wake the poller, who finds out."""
        now, numbers = clock_ns(), self._numbers
        if now - numbers[_LAST_READ] > _NOTED_EVERY_NS:
            numbers[_LAST_READ] = now
        if now < numbers[_LEASE]:
            return True
        if numbers[_POLLER_SLEEPS]:
            numbers[_POLLER_SLEEPS] = 0
            os.write(self._waker, b"1")
        return False

    def prolong_lease(self, until_ns: int) -> None:
        """Let cached values be used until then (clock_ns); 0 ends the lease. The poller's."""
        self._numbers[_LEASE] = until_ns

    def idle_ns(self) -> int:
        """For how long nobody has wanted a cached value."""
        return max(0, clock_ns() - self._numbers[_LAST_READ])

    def sleep(self, longest_s: float) -> None:
        """Return when somebody wants a cached value, or after `longest_s`. The poller's, who has ended the lease."""
        self._numbers[_POLLER_SLEEPS] = 1
        select.select([self._wake_up], [], [], longest_s)
        self._numbers[_POLLER_SLEEPS] = 0
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_up, 1024)

    def close(self) -> None:
        """Let go of the memory; other processes keep it."""
        self._numbers.release()
        self._memory.close()
        os.close(self._wake_up)
        os.close(self._waker)

    def _raise(self, slots: Slots) -> None:
        # The clock is read inside the lock, so that no slot goes back.
        with self._lock:
            now = clock_ns()
            for slot in slots:
                self._numbers[_HEAD + slot * self._rows + self._row] = now
