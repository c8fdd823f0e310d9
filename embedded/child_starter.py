"""Becomes another program that dies with its parent and, for root, runs without its rights.

Run by path as `python -I -S child_starter.py PARENT SIGNAL IDENTITY PROGRAM ARGUMENT...`: standard
library only, and nothing is imported after the rights are gone. PROGRAM keeps the process id.
IDENTITY is `same` (change nothing), `namespace` (a user namespace in which this user has
the name nobody: PostgreSQL, which refuses root, then runs, and files keep their owner) or `UID:GID`
(becomes that user, see `_become`).
"""

import ctypes
import os
import pwd
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS, NO_SETUID_FIXUP = 28, 1 << 2
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Replace this process by the program. Raises OSError when the kernel refuses a step."""
    parent, signal_number, identity, *command = arguments
    os.setsid()  # a Ctrl-C at the terminal is for the parent alone: it stops things in order
    if identity == "namespace":
        _rename()
    elif identity != "same":
        uid, gid = identity.split(":")
        _become(int(uid), int(gid))
    if sys.platform == "linux":
        # Last, because the kernel forgets it whenever the user changes.
        _prctl(PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != int(parent):
        sys.exit("the parent is already gone")
    os.execv(command[0], command)  # noqa: S606 - a shell would be one more process


def _rename() -> None:
    """Enter a user namespace in which this user has another name and no capability."""
    uid, gid = os.geteuid(), os.getegid()
    # Any number but 0 would do, if initdb did not insist on one that has a name.
    inside = pwd.getpwnam("nobody").pw_uid
    _check(_libc().unshare(CLONE_NEWUSER))
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside} {uid} 1"),
        ("gid_map", f"{inside} {gid} 1"),
    ):
        Path("/proc/self", name).write_text(line, encoding="ascii")


def _become(uid: int, gid: int) -> None:
    """Turn from root into that user for good, keeping one right: to reach any file.

    Without it neither the programs nor the data could be used below a folder such as /root,
    which only root may enter.
    """
    # A change of user must not take the right away, not even for the length of an access(2).
    _prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    # effective, permitted, inheritable: for capabilities 0-31, then for those above
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    _check(_libc().capset(header, sets))
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *values: int) -> None:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    _check(_libc().prctl(option, *padded))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
