"""A few numbers that all processes of one host share, through a small file mapped into their memory."""

import contextlib
import enum
import fcntl
import mmap
import os
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

# One number for each group of keys, and one in front for what every write makes old.
SLOTS = 1 << 20
EVERY_WRITE = 0
"""The slot of what any write makes old: pages and counts."""

_PHASE, _DOUBTS, _SETTLED, _CLOSED, _LEASE, _HOST, _WATCHED, _EPOCH = range(8)
_HEAD = 64 // 8
_ASKED, _AS_ROLE, _BEATS = range(3)
MOST_PROCESSES = 260
"""So many processes of a host can prove that they work: WORKERS at the most, and some more."""
_TAIL = _BEATS + MOST_PROCESSES
_BYTES = 8 * (_HEAD + SLOTS + _TAIL)
_ASKED_WITHIN_NS = 30 * 10**9
_LOCK = threading.Lock()
# A process that is forked while another thread holds the lock would wait for that thread, which it does not have.
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class Phase(enum.IntEnum):
    """Where the service is between start and stop. UNMANAGED: no launcher watches over it."""

    UNMANAGED = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


_STARTING = int(Phase.STARTING)


class SharedState:
    """The phase of the service, what of its memory is old, and whether what Redis holds can be trusted.

    - Stamps: each key falls into one of SLOTS. Who changed what is kept under a key gives the stamp of its slot
      another value, by chance, before it answers. A process keeps an answer with the stamp that it saw before it
      read, and uses it only while that stamp stands. Random 64 bits, since a counter of two processes loses steps.
      A stamp is the number of the slot XOR one that all have in common, by which all are changed at once.
    - The lease: until when the stamps are known to hold what other hosts wrote (infra.courier).
    - A process that can't tell Redis of a write raises a doubt before it answers; from then on no process of the
      host reads Redis until somebody has settled that doubt by making all old values unreachable.

    To read one costs a tenth of a microsecond. Each number is eight bytes in one place, written and read at once.
    """

    def __init__(self, path: Path) -> None:
        """Map `path`, making it when there is none. Raises: OSError, also when it belongs to somebody else."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)
        if os.fstat(self._file).st_uid != os.getuid():
            os.close(self._file)
            raise PermissionError(f"{path} belongs to another user; set STATE_FILE to a path of your own")
        if os.fstat(self._file).st_size < _BYTES:
            os.ftruncate(self._file, _BYTES)
        self._memory = mmap.mmap(self._file, _BYTES)
        if hasattr(mmap, "MADV_RANDOM"):
            # Slots lie anywhere: what is read ahead around one is memory taken for nothing.
            self._memory.madvise(mmap.MADV_RANDOM)
        self._whole = memoryview(self._memory)
        self._numbers = self._whole[: 8 * _HEAD].cast("Q")
        self.slots = self._whole[8 * _HEAD : 8 * (_HEAD + SLOTS)].cast("Q")
        self._tail = self._whole[8 * (_HEAD + SLOTS) :].cast("Q")
        self.asked = self._tail[_ASKED : _ASKED + 1]
        """One number: when memory was last wanted, on the clock of time.monotonic_ns."""
        self.beats = self._tail[_BEATS:]
        """One number for each process: when its next proof that it works is due (infra.heartbeats)."""
        self.epoch = self._numbers[_EPOCH : _EPOCH + 1]
        self.lease = self._numbers[_LEASE : _LEASE + 1]
        """One number: until when memory may be used, on the clock of time.monotonic_ns."""
        self.watched = self._numbers[_WATCHED : _WATCHED + 1]
        """One number: until when nothing is older than CACHE_TTL_S that somebody changed by SQL (infra.watch)."""
        with self.locked():
            if not self._numbers[_HOST]:
                self._numbers[_HOST] = secrets.randbits(63) | 1

    @property
    def phase(self) -> Phase:
        """Where the service is."""
        return Phase(self._numbers[_PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._numbers[_PHASE] = phase

    @property
    def is_starting(self) -> bool:
        """Whether the phase is STARTING: every request asks."""
        return self._numbers[_PHASE] == _STARTING

    @property
    def closed(self) -> bool:
        """Whether an administrator was seen: from then on requests need a credential, until the next start."""
        return bool(self._numbers[_CLOSED])

    @closed.setter
    def closed(self, closed: bool) -> None:
        self._numbers[_CLOSED] = closed

    @property
    def as_role(self) -> bool:
        """Whether the service can work as DATABASE_ROLE: the start has found out, or `flask db upgrade`."""
        return bool(self._tail[_AS_ROLE])

    @as_role.setter
    def as_role(self, as_role: bool) -> None:
        self._tail[_AS_ROLE] = as_role

    @property
    def host(self) -> int:
        """A number by which the processes of this host know what they told Redis themselves."""
        return self._numbers[_HOST]

    def stamp(self, slot: int) -> int:
        """The stamp of a slot."""
        return self.slots[slot] ^ self.epoch[0]

    def touch(self, slots: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Make all that is kept under these slots old, EVERY_WRITE last. Returns the stamps of each, before and after.

        So who reads the stamp of EVERY_WRITE first, and then others, sees of no write that one without the others.
        """
        ordered = sorted(slots, reverse=True)
        # Made before the turn, which others wait for.
        values = struct.unpack(f"{len(ordered)}Q", os.urandom(8 * len(ordered)))
        moved = {}
        with self.locked():
            for slot, value in zip(ordered, values, strict=True):
                before = self.stamp(slot)
                self.slots[slot] = value
                moved[slot] = before, self.stamp(slot)
        return moved

    def touch_all(self) -> None:
        """Make all that any process of this host keeps old."""
        with self.locked():
            self.epoch[0] = secrets.randbits(64)

    @property
    def is_asked(self) -> bool:
        """Whether memory was wanted within the last seconds: else nobody has to keep it fit for use."""
        return time.monotonic_ns() - self.asked[0] < _ASKED_WITHIN_NS

    @property
    def doubts(self) -> int:
        """How many doubts were ever raised."""
        return self._numbers[_DOUBTS]

    @property
    def trusted(self) -> bool:
        """Whether every doubt is settled."""
        return self._numbers[_DOUBTS] == self._numbers[_SETTLED]

    def doubt(self) -> None:
        """Stop every process of this host from reading Redis."""
        with self.locked():
            self._numbers[_DOUBTS] += 1

    def settle(self, doubts: int) -> None:
        """Trust Redis again, unless a doubt came after the first `doubts`."""
        self._numbers[_SETTLED] = doubts

    def await_turn(self) -> None:
        """Wait as a writer does for its turn: for ever, if whoever has it does not end."""
        with self.locked():
            pass

    def close(self) -> None:
        """Let go of the file; it stays for the others."""
        for view in (
            self.slots,
            self.epoch,
            self.lease,
            self.watched,
            self.asked,
            self.beats,
            self._tail,
            self._numbers,
            self._whole,
        ):
            view.release()
        self._memory.close()
        os.close(self._file)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes and threads out for a moment."""
        # A lock of the process, not of the open file, which processes that were forked have in common.
        with _LOCK:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def slot_of(key: str) -> int:
    """The slot of a key, the same in every process and on every host: never that of all pages."""
    return slot_of_crc(zlib.crc32(key.encode()))


def slot_of_crc(crc: int) -> int:
    """The same by the CRC-32 of the key, for who has it."""
    return 1 + crc % (SLOTS - 1)
