"""Hashes and verifies passwords with argon2id. At most two threads of a process hash at the same time.

The rules for a new password are those of types.Password (length, common passwords) and reject_own_name.
"""

import secrets
import threading
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from nacl import pwhash
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from app.errors import N_, FieldError, Unavailable, ValidationFailed
from app.identifiers import canonical

Result = TypeVar("Result")

# OWASP Password Storage Cheat Sheet: argon2id, 19 MiB, 2 iterations, 1 lane.
_ITERATIONS, _MEMORY_KIB = 2, 19_456
_CURRENT_PARAMETERS = f"$argon2id$v=19$m={_MEMORY_KIB},t={_ITERATIONS},p=1$"

# One hash takes a core and 19 MiB for tens of milliseconds. More at a time would starve other requests.
_HASHING_SLOTS = threading.BoundedSemaphore(2)
# A waiting sign-in holds a thread of the server. Most threads must stay free for other requests.
_QUEUE = threading.BoundedSemaphore(16)


def _hash(password: str) -> str:
    return argon2id.str(password.encode(), opslimit=_ITERATIONS, memlimit=1024 * _MEMORY_KIB).decode()


def _verify_hash(password_hash: str, password: str) -> bool:
    try:
        return pwhash.verify(password_hash.encode(), password.encode())
    except (CryptoError, ValueError):
        return False


# The hash of a random password, which stands in for the hash of an unknown user.
_DUMMY_HASH = _hash(secrets.token_hex())


def hash_password(password: str | None) -> str | None:
    """The argon2id hash of a normalized password in PHC format. None stays None. Raises: Unavailable"""
    return None if password is None else _run_queued(_hash, password)


def verify_nullable(password: str | None, password_hash: str | None) -> bool:
    """Whether `password_hash` is the hash of `password`. No password matches no hash. Raises: Unavailable"""
    if password is None or password_hash is None:
        return password is None and password_hash is None
    return _run_queued(_verify_hash, password_hash, password)


def verify(password: str, password_hash: str | None) -> bool:
    """Whether `password_hash` is the hash of a typed password. Takes the same time if it is None.

    Raises: Unavailable
    """
    is_right = verify_nullable(normalize(password), password_hash or _DUMMY_HASH)
    return is_right and password_hash is not None


def normalize(password: str) -> str:
    """A typed password in the Unicode form NFKC, which is hashed: keyboards differ in how they compose characters."""
    return unicodedata.normalize("NFKC", password)


def is_outdated(password_hash: str) -> bool:
    """Whether the hash has other parameters than new hashes."""
    return not password_hash.startswith(_CURRENT_PARAMETERS)


def reject_own_name(password: str | None, user: Mapping[str, Any]) -> None:
    """Reject a password that equals the user's username, email or name. Raises: ValidationFailed"""
    email = user["email"] or ""
    own_names = {user["username"], email, email.partition("@")[0], user["name"]}
    if password and canonical(password) in {canonical(name) for name in own_names if name}:
        message = N_("must not be the username, email or name of the user")
        raise ValidationFailed([FieldError("password", message)])


def _run_queued(function: Callable[..., Result], *arguments: str) -> Result:
    """Call `function` in a free slot. Raises: Unavailable, if too many threads wait for a slot"""
    if not _QUEUE.acquire(blocking=False):
        raise Unavailable(N_("Too many passwords are being checked. Try again shortly."))
    try:
        with _HASHING_SLOTS:
            return function(*arguments)
    finally:
        _QUEUE.release()
