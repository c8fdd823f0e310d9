"""Chooses the user that PostgreSQL runs as, because it refuses root."""

import os
import pwd
from pathlib import Path

from embedded.errors import ServerError
from embedded.processes import SAME, complete

NAMESPACE = "namespace"
NOBODY = 65534


def choose(data_dir: Path, program: Path) -> str:
    """Return the identity (see child_starter.py) under which `program` can own and use `data_dir`.

    A user's own folder keeps its owner, also below `sudo`. Root's is used from a user
    namespace. Where the kernel or a container forbids namespaces, the user `nobody` becomes its owner.

    Raises: ServerError when there is no way.
    """
    if os.geteuid() != 0:
        return SAME
    owner = data_dir.stat()
    if owner.st_uid != 0:
        return _checked(f"{owner.st_uid}:{owner.st_gid}", data_dir, program)
    if _works(NAMESPACE, data_dir, program):
        return NAMESPACE
    return _checked(f"{NOBODY}:{NOBODY}", data_dir, program)


def with_a_name(identity: str) -> str:
    """Return an identity that can create the data: initdb requires one that is in /etc/passwd.

    The server itself does not, so that a container's user without a name can run it.
    """
    if identity == NAMESPACE:
        return identity
    uid = os.geteuid() if identity == SAME else int(identity.split(":", maxsplit=1)[0])
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return NAMESPACE if identity == SAME else f"{NOBODY}:{NOBODY}"
    return identity


def hand_over(data_dir: Path, identity: str) -> None:
    """Make the identity the owner of the folder and of its contents, if it is not yet."""
    if identity in (SAME, NAMESPACE):
        return
    uid, gid = (int(number) for number in identity.split(":"))
    if data_dir.stat().st_uid == uid:
        return
    for path in data_dir.rglob("*"):
        os.chown(path, uid, gid, follow_symlinks=False)
    # The folder comes last, so that an interrupted change of owner is repeated.
    os.chown(data_dir, uid, gid)


def adopt(path: Path) -> None:
    """Give new files of root the owner of their folder.

    After one `sudo make run` in a user's folder, `make run` must not fail for its owner.
    """
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _checked(identity: str, data_dir: Path, program: Path) -> str:
    if _works(identity, data_dir, program):
        return identity
    raise ServerError(
        "PostgreSQL refuses to run as root, and this machine lets root neither make a user "
        f"namespace nor become user {identity}. Run this as an ordinary user instead."
    )


def _works(identity: str, data_dir: Path, program: Path) -> bool:
    script = 'test -x "$1" && test -r "$2" && test -w "$2"'
    shell = ["/bin/sh", "-c", script, "sh", str(program), str(data_dir)]
    code, _ = complete(shell, identity=identity)
    return code == 0
