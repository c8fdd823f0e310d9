"""Passwords: argon2id, a bounded number of hashings at a time."""

import secrets
import threading
import unicodedata
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import Fault, Invalid, Unavailable

Result = TypeVar("Result")

# OWASP Password Storage Cheat Sheet: argon2id, 19 MiB, 2 iterations, 1 lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

# A hashing takes a core and 19 MiB for some tens of milliseconds; more at a time would starve all else. Only these
# two threads ever do it, since the C library keeps so much memory for each thread that once took it.
_HASHING = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hashing")
# Who waits holds a thread of the server: a crowd of sign-ins must leave most of them to others.
_QUEUE = threading.BoundedSemaphore(16)

# A hash that no password fits, for users who are not there: its salt and tag are random.
_NOBODYS = _HASHER.hash(secrets.token_hex())


def hashed(password: str | None) -> str | None:
    """The argon2id hash to keep, in PHC format; None stays None."""
    return None if password is None else _in_turn(_HASHER.hash, password)


def matches(password: str | None, kept: str | None) -> bool:
    """Whether `password` is the one that `kept` was made from; None only matches None."""
    if password is None or kept is None:
        return password is None and kept is None
    try:
        return _in_turn(_HASHER.verify, kept, password)
    except (VerificationError, InvalidHashError):
        return False


def verified(offered: str, kept: str | None) -> bool:
    """Whether `offered` (as typed) is the password that `kept` was made from. Takes the same time without `kept`."""
    right = matches(normal(offered), kept or _NOBODYS)
    return right and kept is not None


def normal(offered: str) -> str:
    """A password as it is hashed, however it was typed."""
    return unicodedata.normalize("NFKC", offered)


def is_outdated(kept: str) -> bool:
    """Whether `kept` was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


def require_unlike(password: str | None, user: Mapping[str, Any]) -> None:
    """Refuse a password that is the user's own name or address. Raises: Invalid"""
    own = {user["username"], user["email"] or "", (user["email"] or "").partition("@")[0], user["name"]}
    if password and password.casefold() in {unicodedata.normalize("NFKC", text).casefold() for text in own if text}:
        raise Invalid([Fault("password", "must not be the user's own name or address")])


def _in_turn(work: Callable[..., Result], *given: str) -> Result:
    """What `work` gives, when it is its turn. Raises: Unavailable, when too many wait already"""
    if not _QUEUE.acquire(blocking=False):
        raise Unavailable("Too many passwords are being checked. Try again shortly.")
    try:
        return _HASHING.submit(work, *given).result()
    finally:
        _QUEUE.release()
