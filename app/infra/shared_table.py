"""Versioned bytes by key, in memory that all processes of a host share: each is read once for all of them.

Records lie one after the other in a ring, where the newest take the place of the oldest; a set-associative table says
where. Readers take no lock: a record has a checksum and its key, and what is overwritten, or was written half by a
process that died, is as if it were not there. What makes a record old is what makes old what one process remembers
(infra.memory): the stamp of its slot, its age, the end of the lease.
"""

import mmap
import struct
import time
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from app.infra.shared import SharedState, slot_of, slot_of_crc

_WAYS = 8
"""Places in the table that a key may have: one set."""
_MARKS, _PLACES = struct.Struct(f"<{_WAYS}I"), struct.Struct(f"<{_WAYS}Q")
_HEAD = struct.Struct("<IHHQQI")
"""Of a record: its checksum, bytes of key and value, stamp, when it was read (time.monotonic_ns), version."""
_HEAD_BYTES = _HEAD.size
_CHECKED_FROM = 4
_SIZES = struct.Struct("<HH")
_MOST_VALUE_BYTES = 2**16 - 1
_BYTES_A_WAY = 200
"""Of the ring, for each place in the table: half of what a record takes, so that few sets are full too early."""
_AT_ONCE = 16
"""Records that are written under one lock."""
_SEGMENTS = 64
"""Parts of the ring of which is known when each was begun."""
_GREATEST_SHARE = 1000
"""No record takes more than one in so many of all bytes."""
_LONGEST_NS = 3600 * 10**9
"""No record is older, whatever was heard."""
_SMALLEST = 2**20
_WRITTEN, _EPOCH, _FRESH_FROM = range(3)
"""How much was ever written; since when all that is older was made old at once, and by which number that is known."""
_BEGUN = 3
_PLACES_AFTER = _BEGUN + _SEGMENTS


class Versioned(NamedTuple):
    """A value that was read, and its version."""

    key: str
    version: int
    value: bytes


class Reading(NamedTuple):
    """The stamps of some keys from before they were read, and when that was."""

    stamps: dict[str, int]
    at_ns: int

    def renew(self, moved: dict[int, tuple[int, int]]) -> None:
        """What was read is what made the old `moved`: good still, but where somebody else wrote meanwhile."""
        for key, stamp in list(self.stamps.items()):
            before, after = moved.get(slot_of(key), (0, 0))
            if before == stamp:
                self.stamps[key] = after
            else:
                del self.stamps[key]


class SharedTable:
    """Safe for threads, and for processes that are forked after it was made.

    `most_bytes`: what it may take, of which it takes what was ever written; under a MiB nothing is kept. `ttl_s`: the
    greatest age of a record whose row somebody may have changed by SQL unheard; an hour while that is heard
    (SharedState.watched).
    """

    def __init__(self, state: SharedState, most_bytes: int, ttl_s: float) -> None:
        self._sets = most_bytes // (_WAYS * (_BYTES_A_WAY + 12)) if most_bytes >= _SMALLEST else 0
        self._state, self._stamp, self._slots, self._epoch = state, state.stamp, state.slots, state.epoch
        self._lease, self._watched, self._asked = state.lease, state.watched, state.asked
        self._ttl_ns = int(1e9 * ttl_s)
        ways = self._sets * _WAYS
        self._places_at = 8 * _PLACES_AFTER
        self._marks_at = self._places_at + 8 * ways
        self._ring_at = self._marks_at + 4 * ways
        self._ring_bytes = ways * _BYTES_A_WAY
        self._memory = mmap.mmap(-1, self._ring_at + self._ring_bytes)
        # Those above, then when each segment was begun, then where records begin: on a ring without end.
        self._numbers = memoryview(self._memory)[: self._marks_at].cast("Q")
        self._marks = memoryview(self._memory)[self._marks_at : self._ring_at].cast("I")

    @property
    def usable(self) -> bool:
        """Whether anything may be kept and recalled now."""
        if not self._sets:
            return False
        self._asked[0] = now = time.monotonic_ns()
        return now < self._lease[0]

    def recall(self, key: str) -> tuple[int, bytes] | None:
        """Version and value of `key`, if they are good now."""
        if not self._sets:
            return None
        # In one piece: most requests are answered from here, and a call costs as much as what it would do.
        memory, name = self._memory, key.encode()
        mark = zlib.crc32(name)
        first = mark % self._sets * _WAYS
        marks = _MARKS.unpack_from(memory, self._marks_at + 4 * first)
        if mark not in marks:
            return None
        at = self._ring_at + self._numbers[_PLACES_AFTER + first + marks.index(mark)] % self._ring_bytes
        key_bytes, value_bytes = _SIZES.unpack_from(memory, at + _CHECKED_FROM)
        value_at = _HEAD_BYTES + key_bytes
        # A copy, of which all is checked: others may write there.
        record = memory[at : at + value_at + value_bytes]
        check, _, _, stamp, read_ns, version = _HEAD.unpack_from(record)
        if record[_HEAD_BYTES:value_at] != name or zlib.crc32(record[_CHECKED_FROM:]) != check:
            return None
        self._asked[0] = now = time.monotonic_ns()
        age = now - read_ns
        if now >= self._lease[0] or (age >= self._ttl_ns and (now >= self._watched[0] or age >= _LONGEST_NS)):
            return None
        # After the lease: a stamp that was seen before it may lack what was heard just before it was given.
        return (version, record[value_at:]) if self._slots[slot_of_crc(mark)] ^ self._epoch[0] == stamp else None

    @property
    def has_room(self) -> bool:
        """Whether more can be kept without taking the place of what may still be of use."""
        if not self._sets or self._numbers[_EPOCH] != self._state.epoch[0]:
            return True
        ahead = self._numbers[_WRITTEN] * _SEGMENTS // self._ring_bytes + 1
        begun_ns = self._numbers[_BEGUN + ahead % _SEGMENTS]
        return begun_ns <= max(self._numbers[_FRESH_FROM], time.monotonic_ns() - _LONGEST_NS)

    def begin(self, keys: Iterable[str]) -> Reading:
        """To be called before `keys` are read."""
        return Reading({key: self._stamp(slot_of(key)) for key in keys}, time.monotonic_ns())

    def keep(self, reading: Reading, found: Iterable[Versioned]) -> None:
        """Keep what was read of the keys of `reading`."""
        kept = [item for item in found if item.key in reading.stamps]
        for first in range(0, len(kept), _AT_ONCE):
            # Who holds the lock may wait for the interpreter, and everybody who writes waits for who holds it.
            with self._state.locked():
                for item in kept[first : first + _AT_ONCE]:
                    self._put(item, reading.stamps[item.key], reading.at_ns)

    def close(self) -> None:
        """Let go of the memory; it stays for other processes."""
        self._numbers.release()
        self._marks.release()
        self._memory.close()

    def _put(self, item: Versioned, stamp: int, at_ns: int) -> None:
        name = item.key.encode()
        mark = zlib.crc32(name)
        size = _HEAD_BYTES + len(name) + len(item.value)
        if size * _GREATEST_SHARE > self._ring_bytes or len(item.value) > _MOST_VALUE_BYTES:
            return
        head = _HEAD.pack(0, len(name), len(item.value), stamp, at_ns, item.version)
        rest = head[_CHECKED_FROM:] + name + item.value
        place = self._claim(size)
        at = self._ring_at + place % self._ring_bytes
        self._memory[at : at + size] = zlib.crc32(rest).to_bytes(4, "little") + rest
        first = mark % self._sets * _WAYS
        marks = _MARKS.unpack_from(self._memory, self._marks_at + 4 * first)
        if mark in marks:
            way = first + marks.index(mark)
        else:
            # The place that nobody has had, or the oldest.
            places = _PLACES.unpack_from(self._memory, self._places_at + 8 * first)
            way = first + min(range(_WAYS), key=places.__getitem__)
        self._numbers[_PLACES_AFTER + way] = place
        self._marks[way] = mark

    def _claim(self, size: int) -> int:
        """Where the next record begins; none is cut by the end of the ring."""
        if self._numbers[_EPOCH] != self._state.epoch[0]:
            self._numbers[_EPOCH], self._numbers[_FRESH_FROM] = self._state.epoch[0], time.monotonic_ns()
        begin = max(self._numbers[_WRITTEN], 1)
        if begin % self._ring_bytes + size > self._ring_bytes:
            begin += self._ring_bytes - begin % self._ring_bytes
        self._numbers[_WRITTEN] = begin + size
        segment = (begin + size) * _SEGMENTS // self._ring_bytes
        if segment != begin * _SEGMENTS // self._ring_bytes or begin == 1:
            self._numbers[_BEGUN + segment % _SEGMENTS] = time.monotonic_ns()
        return begin
