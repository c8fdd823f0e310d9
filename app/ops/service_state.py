"""What all processes of one service share: whether it starts, serves or drains, and whether it needs sign-in."""

import enum
import mmap

_PHASE, _SECURED, _AS_ROLE = range(3)
_HEAD = 8
MOST_PROCESSES = 260
"""So many processes of a host can prove that they work: WORKERS at the most, and some more."""


class Phase(enum.IntEnum):
    """Where the service is between start and stop. UNMANAGED: no launcher watches over it."""

    UNMANAGED = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


class ServiceState:
    """A few numbers in memory that processes share which are forked after it was made.

    Each number is eight bytes in one place, written and read at once, so it needs no lock.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (_HEAD + MOST_PROCESSES))
        self._numbers = memoryview(self._memory).cast("Q")
        self.proofs = self._numbers[_HEAD:]
        """One number for each process: when its next proof that it works is due (time.monotonic_ns)."""

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
        return self._numbers[_PHASE] == Phase.STARTING

    @property
    def is_secured(self) -> bool:
        """Whether an administrator was seen: from then on requests need a credential, until the next start."""
        return bool(self._numbers[_SECURED])

    @is_secured.setter
    def is_secured(self, is_secured: bool) -> None:
        self._numbers[_SECURED] = is_secured

    @property
    def as_role(self) -> bool:
        """Whether the service can work as DATABASE_ROLE: the start has found out, or `flask db upgrade`."""
        return bool(self._numbers[_AS_ROLE])

    @as_role.setter
    def as_role(self, as_role: bool) -> None:
        self._numbers[_AS_ROLE] = as_role

    def close(self) -> None:
        """Let go of the memory; other processes keep it."""
        self.proofs.release()
        self._numbers.release()
        self._memory.close()
