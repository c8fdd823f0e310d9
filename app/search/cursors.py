"""Cursors: opaque, good for one kind of list only, and refused when a character is missing or changed."""

import base64
import binascii
import hashlib
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import N_, Malformed

_CHECK_BYTES = 8
_FLAGS = (False, True)


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two rows: the sort key and id of the row that it lies beside, and which way to read on.

    `inclusive` begins with that row: an empty page leads back to the row that it lies behind.
    """

    key: str | int
    id: str
    backwards: bool = False
    inclusive: bool = False


def encode(kind: str, position: Position) -> str:
    """`position` as a cursor for lists of `kind`."""
    payload = orjson.dumps([position.key, position.id, position.backwards, position.inclusive])
    return _text(_check(kind, payload) + payload)


def decode(kind: str, cursor: str, read_key: Callable[[Any], object]) -> Position:
    """The position that `cursor` stands for; `read_key` raises TypeError or ValueError for what can be no sort key.

    Raises: Malformed, when it was not made for lists of `kind`
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(N_("The cursor is damaged."), "cursor") from None
    check, payload = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    # Base64 has several spellings of the same bytes; ours is the only one that we ever gave.
    if check != _check(kind, payload) or _text(raw) != cursor:
        raise Malformed(N_("The cursor is damaged, or of another list or sort."), "cursor")
    return _position(payload, read_key)


def _position(payload: bytes, read_key: Callable[[Any], object]) -> Position:
    """What was encoded. The check is no secret, so anything may be in there. Raises: Malformed"""
    try:
        key, row_id, *flags = orjson.loads(payload)
        read_key(key)
        known_id = str(uuid.UUID(row_id))
        backwards, inclusive = map(_FLAGS.index, flags)
    except (ValueError, TypeError, AttributeError, struct.error):
        raise Malformed(N_("The cursor is damaged."), "cursor") from None
    return Position(key, known_id, bool(backwards), bool(inclusive))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _check(kind: str, payload: bytes) -> bytes:
    """Against damage and mix-ups. It is no secret: whoever can ask for a page may ask for any."""
    return hashlib.blake2b(payload, digest_size=_CHECK_BYTES, person=b"fsa cursor", salt=_digest(kind)).digest()


def _digest(kind: str) -> bytes:
    return hashlib.blake2b(kind.encode(), digest_size=16).digest()
