"""The format of token secrets: a prefix, 256 random bits and a checksum, in base 62."""

import hashlib
import secrets
import string
import zlib

from app.errors import N_, Unauthorized

PREFIX = "fsa_"
"""The prefix of all tokens. Secret scanners find leaked tokens by it."""

_DIGITS = string.digits + string.ascii_letters
_BODY_LENGTH, _CHECKSUM_LENGTH = 43, 6


def create_secret() -> str:
    """A new random secret."""
    body = _base62(secrets.randbits(256), _BODY_LENGTH)
    return f"{PREFIX}{body}{_checksum(body)}"


def secret_digest(secret: str) -> bytes:
    """The SHA-256 of a secret, which is stored. Raises: Unauthorized, if the format or the checksum is wrong"""
    body, checksum = secret[len(PREFIX) : -_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    has_format = secret.isascii() and secret.startswith(PREFIX) and len(body) == _BODY_LENGTH
    if not has_format or checksum != _checksum(body):
        raise Unauthorized(N_("This is not a valid API token. It is incomplete or mistyped."))
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    """The CRC-32 of a body, which detects typing errors without a query."""
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
