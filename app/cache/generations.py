"""Generations: the time of the last invalidation of each key, in memory that all processes of a host share.

A key names what a cached value depends on: one user (user_key), or all lists of users (USERS_KEY). A cached value is
valid if its reading began after the generations of all its keys. A writer invalidates its keys after the commit and
before its response (users.writes.UserTransactions), so a read that begins after the response never gets the older
value. The change poller invalidates what other hosts and SQL change, and prolongs the lease. Without a lease no cached
value is used.
"""

import contextlib
import mmap
import os
import select
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Iterable

USERS_KEY = "users"
"""The key of all lists of users. Each change of a user invalidates it."""
SLOTS = 1 << 16
"""Keys of one slot are invalidated together."""
_ALL = 0
POLLER_ROW = 0
"""The row of the change poller. Workers have the other rows."""
_LEASE, _LAST_READ, _POLLER_SLEEPS = range(3)
_HEAD = 8
_LAST_READ_RESOLUTION_NS = 10**9
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

Slots = tuple[int, ...]
"""The slots of some keys, from `Generations.slots_of`."""


def user_key(user_id: uuid.UUID | str) -> str:
    """The key of a user, with its tokens and permissions. An id as text is in its canonical form."""
    return f"user:{user_id}"


def clock_ns() -> int:
    """Nanoseconds since the boot of the machine, with the time of its suspension; the same in all processes."""
    return time.clock_gettime_ns(_CLOCK)


class Generations:
    """Safe for threads, and for processes that are forked later.

    Each process writes a row of its own, and readers use the maximum of all rows. So processes share no lock, and a
    killed process leaves no lock behind. A process that replaces another one continues its row.
    processes: the number of rows.
    """

    def __init__(self, processes: int = 1) -> None:
        self._rows = processes
        # Until use_row: that of the first worker.
        self._row = min(POLLER_ROW + 1, processes - 1)
        self._memory = mmap.mmap(-1, 8 * (_HEAD + SLOTS * processes))
        self._numbers = memoryview(self._memory).cast("Q")
        # Native sizes: each number is copied whole.
        self._unpack = struct.Struct(f"@{processes}Q").unpack_from
        self._lock = threading.Lock()
        self._wake_up, self._waker = os.pipe()
        for end in (self._wake_up, self._waker):
            os.set_blocking(end, False)

    def use_row(self, row: int) -> None:
        """Write to `row` from now on. No other process may use it."""
        self._row = row

    def slots_of(self, keys: Iterable[str]) -> Slots:
        """The slots that hold the generations of `keys`."""
        return (_ALL, *[1 + zlib.crc32(key.encode()) % (SLOTS - 1) for key in keys])

    def invalidate(self, keys: Iterable[str] | None = None) -> None:
        """Invalidate all values with one of `keys` (None: any key) whose reading began before this call."""
        slots = (_ALL,) if keys is None else self.slots_of(keys)[1:]
        # The clock is read inside the lock, so that no generation decreases.
        with self._lock:
            now = clock_ns()
            for slot in slots:
                self._numbers[_HEAD + slot * self._rows + self._row] = now
        if self._row != POLLER_ROW:
            # The poller also lets the search index be merged after writes.
            self.has_lease()

    def latest(self, slots: Slots, *, by_poller: bool = True) -> int:
        """The time of the last invalidation of one of `slots` (clock_ns); without by_poller, by one of the workers."""
        memory, unpack, width = self._memory, self._unpack, 8 * self._rows
        latest = 0
        for slot in slots:
            times = unpack(memory, 8 * _HEAD + width * slot)
            latest = max(latest, *(times if by_poller else times[POLLER_ROW + 1 :]))
        return latest

    def may_be_used(self, slots: Slots, began_ns: int) -> bool:
        """Whether the host has the lease, and a value of `slots` whose reading began at `began_ns` is valid."""
        # The lease first: generations that are read before it may lack the changes that the poller found just before.
        return self.has_lease() and self.latest(slots) < began_ns

    def has_lease(self) -> bool:
        """Whether the poller knows all changes. If not, wake the poller."""
        now, numbers = clock_ns(), self._numbers
        if now - numbers[_LAST_READ] > _LAST_READ_RESOLUTION_NS:
            numbers[_LAST_READ] = now
        if now < numbers[_LEASE]:
            return True
        if numbers[_POLLER_SLEEPS]:
            numbers[_POLLER_SLEEPS] = 0
            os.write(self._waker, b"1")
        return False

    def prolong_lease(self, until_ns: int) -> None:
        """Set the end of the lease (clock_ns); 0 ends it now. For the poller."""
        self._numbers[_LEASE] = until_ns

    def idle_ns(self) -> int:
        """The time since the last read of a cache, or the last write."""
        return max(0, clock_ns() - self._numbers[_LAST_READ])

    @property
    def is_lease_held(self) -> bool:
        """Whether there is a lease. Unlike has_lease, this does not count as a read of a cache."""
        return clock_ns() < self._numbers[_LEASE]

    @property
    def poller_sleeps(self) -> bool:
        """Whether the poller sleeps, because no process uses a cache."""
        return bool(self._numbers[_POLLER_SLEEPS])

    def sleep(self, timeout_s: float) -> None:
        """Sleep until a read of a cache, a write, or for `timeout_s`. For the poller, which has ended the lease."""
        self._numbers[_POLLER_SLEEPS] = 1
        select.select([self._wake_up], [], [], timeout_s)
        self._numbers[_POLLER_SLEEPS] = 0
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_up, 1024)

    def close(self) -> None:
        """Release the memory in this process."""
        self._numbers.release()
        self._memory.close()
        os.close(self._wake_up)
        os.close(self._waker)
