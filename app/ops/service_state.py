"""The state that all processes of a service share: its phase, whether it is secured, and heartbeats."""

import enum
import mmap

_PHASE, _SECURED, _ROLE_AVAILABLE = range(3)
_HEAD = 8
MAX_PROCESSES = 260
"""More than the maximum of WORKERS, and the change poller."""


class Phase(enum.IntEnum):
    """The phase of the service. UNMANAGED: no launcher supervises it."""

    UNMANAGED = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


class ServiceState:
    """Numbers in memory that all later forked processes share.

    Each number has eight bytes, which are read and written at once. No lock is needed.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (_HEAD + MAX_PROCESSES))
        self._numbers = memoryview(self._memory).cast("Q")
        self.heartbeats = self._numbers[_HEAD:]
        """The time at which the next heartbeat of each process is due (time.monotonic_ns)."""

    @property
    def phase(self) -> Phase:
        """The present phase."""
        return Phase(self._numbers[_PHASE])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._numbers[_PHASE] = phase

    @property
    def is_starting(self) -> bool:
        """Whether the phase is STARTING. Each request reads it, so it creates no Phase."""
        return self._numbers[_PHASE] == Phase.STARTING

    @property
    def is_secured(self) -> bool:
        """Whether an administrator was found. From then until the next start, requests need a credential."""
        return bool(self._numbers[_SECURED])

    @is_secured.setter
    def is_secured(self, is_secured: bool) -> None:
        self._numbers[_SECURED] = is_secured

    @property
    def is_role_available(self) -> bool:
        """Whether the service can connect as DATABASE_ROLE, as the start or `flask db upgrade` found."""
        return bool(self._numbers[_ROLE_AVAILABLE])

    @is_role_available.setter
    def is_role_available(self, is_role_available: bool) -> None:
        self._numbers[_ROLE_AVAILABLE] = is_role_available

    def close(self) -> None:
        """Release the memory in this process."""
        self.heartbeats.release()
        self._numbers.release()
        self._memory.close()
