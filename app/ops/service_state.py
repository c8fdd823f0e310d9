"""The state that all processes of a service share: its phase, whether it is secured, and heartbeats."""

import ctypes
import enum
import mmap
from typing import ClassVar

MAX_PROCESSES = 260
"""More than the maximum of WORKERS, the change poller and the process that serves metrics."""


class Phase(enum.IntEnum):
    """The phase of the service. UNMANAGED: no launcher supervises it."""

    UNMANAGED = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


class ServiceState(ctypes.Structure):
    """Numbers in memory. Each is read and written at once, so no lock is needed.

    phase: a Phase. is_secured: requests need a credential, from when an administrator is found until the next start.
    is_role_available: the service can connect as DATABASE_ROLE, as the start or `flask db upgrade` found.
    heartbeats: the time at which the next heartbeat of each process is due (time.monotonic_ns).
    """

    phase: int
    is_secured: bool
    is_role_available: bool
    heartbeats: ctypes.Array[ctypes.c_uint64]
    _fields_: ClassVar = [
        ("phase", ctypes.c_uint64),
        ("is_secured", ctypes.c_bool),
        ("is_role_available", ctypes.c_bool),
        ("heartbeats", ctypes.c_uint64 * MAX_PROCESSES),
    ]


def create_state() -> ServiceState:
    """A new state in memory that all later forked processes share."""
    return ServiceState.from_buffer(mmap.mmap(-1, ctypes.sizeof(ServiceState)))
