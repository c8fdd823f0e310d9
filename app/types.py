"""Types of fields with their validation rules."""

import math
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StrictBool, TypeAdapter
from typing_extensions import TypeAliasType

from app.errors import N_, Message
from app.validation import RuleError, library_text

# email-validator then accepts .local, .test and the like, which private networks use.
SPECIAL_USE_DOMAIN_NAMES.clear()

MAX_ATTRIBUTES_BYTES = 16 * 1024
MAX_ATTRIBUTES_DEPTH = 8
MAX_INTEGER = 2**63 - 1
MIN_PASSWORD, MAX_PASSWORD = 10, 128
_MAX_NORMALIZED = 4096
"""Characters. Longer values, which are refused, are not normalized: a megabyte of accents takes minutes."""

# Of the lists of zxcvbn (10,000, MIT) and Django (20,000, BSD), the passwords of at least MIN_PASSWORD characters.
_COMMON_PASSWORDS = frozenset((Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").splitlines())

# Control characters and line separators. http.parsing refuses lone surrogates and U+0000.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# The white space of ECMAScript, and so of JSON Schema. That of Python contains control characters.
_WHITE_SPACE = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_INNER = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
_EDGE = r"[^\s\x00-\x1f\x7f-\x9f]"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
_DIGITS = re.compile(r"-?\d{1,18}", re.ASCII)


def _normalize(value: object) -> object:
    if isinstance(value, str) and len(value) <= _MAX_NORMALIZED:
        return unicodedata.normalize("NFC", value)
    return value


def _trim(value: object) -> object:
    return value.strip(_WHITE_SPACE) if isinstance(value, str) else value


def _refuse_control_characters(value: str) -> str:
    if _CONTROL.search(value):
        raise RuleError(N_("must not contain control characters"))
    return value


def _refuse_white_space(value: str) -> str:
    if any(character.isspace() for character in value):
        raise RuleError(N_("must not contain white space"))
    return _refuse_control_characters(value)


def _check_email(value: str) -> str:
    """Check the syntax of RFC 5321 and 6531. Special-use domains are allowed, and DNS is not used."""
    try:
        validate_email(value, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise RuleError(N_("is not an email address: %(reason)s", reason=library_text(str(error)))) from None
    return _refuse_white_space(value)


def _check_password(value: str) -> str:
    normal = unicodedata.normalize("NFKC", value) if len(value) <= _MAX_NORMALIZED else value
    if not MIN_PASSWORD <= len(normal) <= MAX_PASSWORD:
        raise RuleError(N_("must have %(least)s to %(most)s characters", least=MIN_PASSWORD, most=MAX_PASSWORD))
    if normal.casefold() in _COMMON_PASSWORDS:
        raise RuleError(N_("is one of the most common passwords"))
    return normal


def check_attributes(value: dict[str, Any]) -> dict[str, Any]:
    """Check the limits of attributes. Raises: RuleError"""
    _check_json(value, depth=1)
    if len(orjson.dumps(value)) > MAX_ATTRIBUTES_BYTES:
        raise RuleError(N_("must be at most 16 KiB as JSON"))
    return value


def _check_json(value: object, depth: int) -> None:
    if isinstance(value, (dict, list)):
        if depth > MAX_ATTRIBUTES_DEPTH:
            raise RuleError(N_("must be at most 8 levels deep"))
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RuleError(N_("must contain only finite numbers"))
    elif isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        raise RuleError(N_("must contain only integers of at most 64 bits"))


def _check_digits(value: object) -> object:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise RuleError(N_("must be an integer"))
    return value


def _check_rfc3339(value: object) -> object:
    if isinstance(value, datetime):
        return value
    # In a query string, an unescaped + of an offset is a space.
    text = value.replace(" ", "+") if isinstance(value, str) else ""
    if not _RFC3339.fullmatch(text):
        raise RuleError(N_("must be an RFC 3339 date and time, such as 2026-01-31T09:30:00Z"))
    return text


def _convert_to_utc(value: datetime) -> datetime:
    """The same time in UTC. PostgreSQL accepts fewer offsets than RFC 3339, and JavaScript only these years."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise RuleError(N_("must be within the years 1 to 9999 in UTC")) from None


def _parse_flag(value: object) -> object:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise RuleError(N_("must be true or false"))
        return value == "true"
    return value


Username = Annotated[
    str,
    Field(
        min_length=1,
        max_length=254,
        description="unique in canonical form; no white space",
        json_schema_extra={"pattern": rf"^{_EDGE}+$"},
    ),
    BeforeValidator(_normalize),
    AfterValidator(_refuse_white_space),
]
Email = Annotated[
    str,
    Field(
        max_length=254,
        description="unique in canonical form, and no other user's username",
        json_schema_extra={"format": "email"},
    ),
    AfterValidator(_check_email),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": rf"^\s*{_EDGE}({_INNER}*{_EDGE})?\s*$"}),
    BeforeValidator(_trim),
    BeforeValidator(_normalize),
    AfterValidator(_refuse_control_characters),
]
Role = TypeAliasType(
    "Role",
    Annotated[
        Literal["member", "viewer", "editor", "admin"],
        Field(description="Each role may do all that the one before may."),
    ],
)
ROLE_NAMES: dict[Role, Message] = {
    "member": N_("member"),
    "viewer": N_("viewer"),
    "editor": N_("editor"),
    "admin": N_("admin"),
}
"""The names of roles in messages."""
Attributes = Annotated[
    dict[str, Any],
    Field(description="free-form JSON, at most 16 KiB and 8 levels deep"),
    AfterValidator(check_attributes),
]
Password = Annotated[
    str,
    Field(
        description="10 to 128 characters; stored as an argon2id hash; no response contains it",
        json_schema_extra={
            "minLength": MIN_PASSWORD,
            "maxLength": MAX_PASSWORD,
            "writeOnly": True,
        },
    ),
    AfterValidator(_check_password),
]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_check_rfc3339), AfterValidator(_convert_to_utc)]
"""A date and time in UTC: a string of RFC 3339, which is converted to UTC, or a datetime."""
TIMESTAMP = TypeAdapter[datetime](Timestamp)
"""Validates a timestamp outside of a model."""
Flag = Annotated[StrictBool, BeforeValidator(_parse_flag)]
MAX_PAGE_SIZE = 200
"""The maximum number of entries of a page."""

Limit = Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE), BeforeValidator(_check_digits)]
Cursor = Annotated[str, Field(max_length=2000, description="opaque; from the Link header of another page")]

Precondition = Callable[[int | None], bool]
"""Whether a command may proceed with the present version of a user (None: there is no such user)."""


def format_timestamp(value: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds."""
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
