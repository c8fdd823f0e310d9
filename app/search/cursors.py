"""Cursors of keyset pagination: opaque, valid for one kind of list, with a checksum."""

import base64
import binascii
import hashlib
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import N_, BadRequest

_CHECKSUM_BYTES = 8
_FLAGS = (False, True)


@dataclass(frozen=True, slots=True)
class Keyset:
    """The sort key and id of a row, after which a page begins (before which, if `backwards`).

    inclusive: the page begins with that row. The cursors of an empty page are inclusive.
    """

    key: str | int
    id: str
    backwards: bool = False
    inclusive: bool = False


def encode(kind: str, keyset: Keyset) -> str:
    """`keyset` as a cursor for lists of `kind`."""
    payload = orjson.dumps([keyset.key, keyset.id, keyset.backwards, keyset.inclusive])
    return with_checksum(kind, payload)


def with_checksum(kind: str, payload: bytes) -> str:
    """The cursor that holds `payload`."""
    return _base64(_checksum(kind, payload) + payload)


def decode(kind: str, cursor: str, read_key: Callable[[Any], object]) -> Keyset:
    """The keyset in `cursor`.

    read_key: raises TypeError or ValueError for a value that is no sort key.
    Raises: BadRequest, also for a cursor of another kind of list
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(N_("The cursor is invalid."), "cursor") from None
    checksum, payload = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    # Base64 has several spellings of the same bytes. Only the spelling of `encode` is accepted.
    if checksum != _checksum(kind, payload) or _base64(raw) != cursor:
        raise BadRequest(N_("The cursor is invalid, or belongs to another list or sort order."), "cursor")
    return _parse(payload, read_key)


def _parse(payload: bytes, read_key: Callable[[Any], object]) -> Keyset:
    """The checksum is not secret, so `payload` may hold anything. Raises: BadRequest"""
    try:
        key, row_id, *flags = orjson.loads(payload)
        read_key(key)
        known_id = str(uuid.UUID(row_id))
        backwards, inclusive = map(_FLAGS.index, flags)
    except (ValueError, TypeError, AttributeError, struct.error):
        raise BadRequest(N_("The cursor is invalid."), "cursor") from None
    return Keyset(key, known_id, bool(backwards), bool(inclusive))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _checksum(kind: str, payload: bytes) -> bytes:
    """Detects damage and cursors of other lists. It is not secret: a client may ask for any page anyway."""
    return hashlib.blake2b(payload, digest_size=_CHECKSUM_BYTES, person=b"fsa cursor", salt=_salt(kind)).digest()


def _salt(kind: str) -> bytes:
    return hashlib.blake2b(kind.encode(), digest_size=16).digest()
