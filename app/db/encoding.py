"""Encodes values in the text format in which PostgreSQL reads them."""

import re
from collections.abc import Iterable
from datetime import datetime

import orjson

from app.errors import N_, BadRequest

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped U+0000 in JSON. After an even number of backslashes, the escape begins with the last one."""


def encode_values(values: Iterable[object]) -> list[bytes | None]:
    """Values in the text format of PostgreSQL. Bytes are not changed. Raises: BadRequest, if a text contains U+0000"""
    texts = [_encode_value(value) for value in values]
    if any(text is not None and b"\0" in text for text in texts):
        # libpq would cut the text there, and it could be the name of another user.
        raise _nul_error()
    return texts


def encode_array(items: Iterable[str]) -> bytes:
    """An array of text in the text format of PostgreSQL."""
    quoted = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return ("{" + ",".join(f'"{item}"' for item in quoted) + "}").encode()


def encode_json(value: object) -> bytes:
    """JSON. Raises: BadRequest, if a text contains U+0000"""
    text = orjson.dumps(value)
    if rb"\u0000" in text and _NUL.search(text):
        raise _nul_error()
    return text


def encode_bytea(value: bytes) -> str:
    """A bytea in the hex format of PostgreSQL."""
    return f"\\x{value.hex()}"


def _nul_error() -> BadRequest:
    return BadRequest(N_("Text must not contain U+0000."))


def _encode_value(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, (list, tuple)):
        return encode_array(value)
    if isinstance(value, datetime):
        return value.isoformat().encode()
    return str(value).encode()
