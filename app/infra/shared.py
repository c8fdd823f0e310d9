"""A few counters that all processes of one host share, through a small file mapped into their memory."""

import enum
import fcntl
import mmap
import os
import struct
from pathlib import Path

_SLOT = struct.Struct("<Q")
_PHASE, _DOUBTS, _SETTLED, _CLOSED = range(4)
_SIZE = 64


class Phase(enum.IntEnum):
    """Where the service is between start and stop. UNMANAGED: no launcher watches over it."""

    UNMANAGED = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


class SharedState:
    """The phase of the service, and whether what Redis holds can be trusted.

    A process that can't tell Redis of a write raises a doubt before it answers; from
    then on no process of the host reads Redis until somebody has settled that doubt
    by making all old values unreachable. Reading costs less than a microsecond.
    """

    def __init__(self, path: Path) -> None:
        """Map `path`, making it when there is none. Raises: OSError, also when it belongs to somebody else."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)
        if os.fstat(self._file).st_uid != os.getuid():
            os.close(self._file)
            raise PermissionError(f"{path} belongs to another user; set STATE_FILE to a path of your own")
        if os.fstat(self._file).st_size < _SIZE:
            os.ftruncate(self._file, _SIZE)
        self._memory = mmap.mmap(self._file, _SIZE)

    @property
    def phase(self) -> Phase:
        """Where the service is."""
        return Phase(self._get(_PHASE))

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._set(_PHASE, phase)

    @property
    def closed(self) -> bool:
        """Whether an administrator was seen: from then on requests need a credential, until the next start."""
        return bool(self._get(_CLOSED))

    @closed.setter
    def closed(self, closed: bool) -> None:
        self._set(_CLOSED, closed)

    @property
    def doubts(self) -> int:
        """How many doubts were ever raised."""
        return self._get(_DOUBTS)

    @property
    def trusted(self) -> bool:
        """Whether every doubt is settled."""
        return self._get(_DOUBTS) == self._get(_SETTLED)

    def doubt(self) -> None:
        """Stop every process of this host from reading Redis."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._set(_DOUBTS, self._get(_DOUBTS) + 1)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def settle(self, doubts: int) -> None:
        """Trust Redis again, unless a doubt came after the first `doubts`."""
        self._set(_SETTLED, doubts)

    def close(self) -> None:
        """Let go of the file; it stays for the others."""
        self._memory.close()
        os.close(self._file)

    def _get(self, slot: int) -> int:
        value: int = _SLOT.unpack_from(self._memory, slot * _SLOT.size)[0]
        return value

    def _set(self, slot: int, value: int) -> None:
        _SLOT.pack_into(self._memory, slot * _SLOT.size, value)
