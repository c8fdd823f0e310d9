"""Cursors of keyset pagination: opaque, valid for one kind of list, with a checksum."""

import base64
import hashlib
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import N_, BadRequest

_CHECKSUM_BYTES = 8


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
    """The cursor that holds `payload`.

    The checksum detects damage and cursors of other lists. It is not secret: a client may ask for any page anyway.
    """
    salt = hashlib.blake2b(kind.encode(), digest_size=16).digest()
    checksum = hashlib.blake2b(payload, digest_size=_CHECKSUM_BYTES, person=b"fsa cursor", salt=salt).digest()
    return base64.urlsafe_b64encode(checksum + payload).rstrip(b"=").decode()


def decode(kind: str, cursor: str, read_key: Callable[[Any], object]) -> Keyset:
    """The keyset in `cursor`.

    read_key: raises TypeError or ValueError for a value that is no sort key.
    Raises: BadRequest, also for a cursor of another kind of list
    """
    try:
        payload = base64.urlsafe_b64decode(f"{cursor}==")[_CHECKSUM_BYTES:]
    except ValueError:
        payload = b""
    # Base64 has several spellings of the same bytes. Only the spelling of `encode` is accepted.
    if with_checksum(kind, payload) != cursor:
        raise BadRequest(N_("The cursor is invalid, or belongs to another list or sort order."), "cursor")
    try:
        key, row_id, backwards, inclusive = orjson.loads(payload)
        # In Python, true is an integer.
        if isinstance(key, bool):
            raise TypeError  # noqa: TRY301 - all faults of a cursor are handled below
        read_key(key)
        return Keyset(key, str(uuid.UUID(row_id)), bool(backwards), bool(inclusive))
    except (ValueError, TypeError, AttributeError, struct.error):
        raise BadRequest(N_("The cursor is invalid."), "cursor") from None
