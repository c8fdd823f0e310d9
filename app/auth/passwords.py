"""Passwords: argon2id, a bounded number of hashings at a time."""

import secrets
import threading
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id, verify

from app.errors import N_, FieldError, Unavailable, ValidationFailed
from app.identifiers import canonical

Result = TypeVar("Result")

# OWASP Password Storage Cheat Sheet: argon2id, 19 MiB, 2 iterations, 1 lane.
_ITERATIONS, _MEMORY_KIB = 2, 19_456
_TODAYS = f"$argon2id$v=19$m={_MEMORY_KIB},t={_ITERATIONS},p=1$"

# A hashing takes a core and 19 MiB for some tens of milliseconds; more at a time would starve all else.
_TURNS = threading.BoundedSemaphore(2)
# Who waits holds a thread of the server: a crowd of sign-ins must leave most of them to others.
_QUEUE = threading.BoundedSemaphore(16)


def _hash(password: str) -> str:
    return argon2id.str(password.encode(), opslimit=_ITERATIONS, memlimit=1024 * _MEMORY_KIB).decode()


def _fits(kept: str, password: str) -> bool:
    try:
        return verify(kept.encode(), password.encode())
    except (CryptoError, ValueError):
        return False


# A hash that no password fits, for users who are not there: its salt and tag are random.
_NOBODYS = _hash(secrets.token_hex())


def hashed(password: str | None) -> str | None:
    """The argon2id hash to keep, in PHC format; None stays None."""
    return None if password is None else _in_turn(_hash, password)


def matches(password: str | None, kept: str | None) -> bool:
    """Whether `password` is the one that `kept` was made from; None only matches None."""
    if password is None or kept is None:
        return password is None and kept is None
    return _in_turn(_fits, kept, password)


def verified(offered: str, kept: str | None) -> bool:
    """Whether `offered` (as typed) is the password that `kept` was made from. Takes the same time without `kept`."""
    right = matches(normal(offered), kept or _NOBODYS)
    return right and kept is not None


def normal(offered: str) -> str:
    """A password as it is hashed, however it was typed."""
    return unicodedata.normalize("NFKC", offered)


def is_outdated(kept: str) -> bool:
    """Whether `kept` was made with other parameters than today's."""
    return not kept.startswith(_TODAYS)


def require_unlike(password: str | None, user: Mapping[str, Any]) -> None:
    """Refuse a password that is the user's own name or address. Raises: ValidationFailed"""
    own = {user["username"], user["email"] or "", (user["email"] or "").partition("@")[0], user["name"]}
    if password and canonical(password) in {canonical(text) for text in own if text}:
        raise ValidationFailed([FieldError("password", N_("must not be the user's own name or address"))])


def _in_turn(work: Callable[..., Result], *given: str) -> Result:
    """What `work` gives, when it is its turn. Raises: Unavailable, when too many wait already"""
    if not _QUEUE.acquire(blocking=False):
        raise Unavailable(N_("Too many passwords are being checked. Try again shortly."))
    try:
        with _TURNS:
            return work(*given)
    finally:
        _QUEUE.release()
