"""Types of values: each rule about a value is written here, once."""

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

from app.errors import N_, Message
from app.validation_messages import library_text, rule

# The library's own way to let .local, .test and their like pass: private networks have such addresses.
SPECIAL_USE_DOMAIN_NAMES.clear()

MAX_ATTRIBUTES_BYTES = 16 * 1024
MAX_ATTRIBUTES_DEPTH = 8
MAX_INTEGER = 2**63 - 1
MIN_PASSWORD, MAX_PASSWORD = 10, 128
_MOST_NORMALISED = 4096  # characters

# Those of the 10,000 of zxcvbn (MIT) and the 20,000 of Django (BSD) that are long enough to be chosen here.
_COMMON_PASSWORDS = frozenset((Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").splitlines())

# Control characters and line separators; lone surrogates and U+0000 are refused with the whole body.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# White space as ECMAScript (and so JSON Schema) has it; Python's own set holds control characters too.
_WHITE = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_INNER = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
_EDGE = r"[^\s\x00-\x1f\x7f-\x9f]"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
_DIGITS = re.compile(r"-?\d{1,18}", re.ASCII)


def _normal(value: object) -> object:
    # What is far too long stays as it is, and too long: a megabyte of accents takes minutes to be put in order.
    if isinstance(value, str) and len(value) <= _MOST_NORMALISED:
        return unicodedata.normalize("NFC", value)
    return value


def _trim(value: object) -> object:
    normal = _normal(value)
    return normal.strip(_WHITE) if isinstance(normal, str) else normal


def _no_control(value: str) -> str:
    if _CONTROL.search(value):
        raise rule(N_("must hold no control characters"))
    return value


def _no_space(value: str) -> str:
    if any(character.isspace() for character in value):
        raise rule(N_("must hold no white space"))
    return _no_control(value)


def _email_syntax(value: str) -> str:
    """RFC 5321 and 6531 by the email-validator library; special-use domains are fine and nothing is looked up."""
    try:
        validate_email(value, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise rule(N_("is no email address: %(reason)s", reason=library_text(str(error)))) from None
    return _no_space(value)


def _password_characters(value: str) -> str:
    normal = unicodedata.normalize("NFKC", value) if len(value) <= _MOST_NORMALISED else value
    if not MIN_PASSWORD <= len(normal) <= MAX_PASSWORD:
        raise rule(N_("must have %(least)s to %(most)s characters", least=MIN_PASSWORD, most=MAX_PASSWORD))
    if normal.casefold() in _COMMON_PASSWORDS:
        raise rule(N_("is among the most common passwords, which are tried first"))
    return normal


def check_attributes(value: dict[str, Any]) -> dict[str, Any]:
    """`value` when it keeps the rules for attributes. Raises: PydanticCustomError, which names the rule."""
    _check_json(value, depth=1)
    if len(orjson.dumps(value)) > MAX_ATTRIBUTES_BYTES:
        raise rule(N_("must be at most 16 KiB as JSON"))
    return value


def _check_json(value: object, depth: int) -> None:
    if isinstance(value, (dict, list)):
        if depth > MAX_ATTRIBUTES_DEPTH:
            raise rule(N_("must be at most 8 levels deep"))
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise rule(N_("must hold finite numbers only"))
    elif isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        raise rule(N_("must hold whole numbers of at most 64 bits"))


def _digits(value: object) -> object:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise rule(N_("must be a whole number"))
    return value


def _rfc3339(value: object) -> object:
    if isinstance(value, datetime):
        return value
    # An unescaped + of an offset arrives as a space.
    text = value.replace(" ", "+") if isinstance(value, str) else ""
    if not _RFC3339.fullmatch(text):
        raise rule(N_("must be an RFC 3339 date and time, such as 2026-01-31T09:30:00Z"))
    return text


def _in_utc(value: datetime) -> datetime:
    """The same time in UTC, since PostgreSQL takes fewer offsets than RFC 3339, and JavaScript no other years."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise rule(N_("must lie within the years 1 to 9999 in UTC")) from None


def _flag(value: object) -> object:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise rule(N_("must be true or false"))
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
    BeforeValidator(_normal),
    AfterValidator(_no_space),
]
Email = Annotated[
    str,
    Field(
        max_length=254,
        description="unique in canonical form, and no other user's username",
        json_schema_extra={"format": "email"},
    ),
    AfterValidator(_email_syntax),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": rf"^\s*{_EDGE}({_INNER}*{_EDGE})?\s*$"}),
    BeforeValidator(_trim),
    AfterValidator(_no_control),
]
Role = Literal["member", "viewer", "editor", "admin"]
ROLE_NAMES: dict[Role, Message] = {
    "member": N_("member"),
    "viewer": N_("viewer"),
    "editor": N_("editor"),
    "admin": N_("admin"),
}
"""The roles as values of other messages."""
Attributes = Annotated[
    dict[str, Any],
    Field(description="free-form JSON, at most 16 KiB and 8 levels deep"),
    AfterValidator(check_attributes),
]
Password = Annotated[
    str,
    Field(
        description="10 to 128 characters; kept as an argon2id hash and never given back",
        json_schema_extra={
            "minLength": MIN_PASSWORD,
            "maxLength": MAX_PASSWORD,
            "writeOnly": True,
        },
    ),
    AfterValidator(_password_characters),
]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_rfc3339), AfterValidator(_in_utc)]
"""A date and time in UTC. Clients send a string as in RFC 3339, whose offset is converted; our own code a datetime."""
TIMESTAMP = TypeAdapter[datetime](Timestamp)
"""Validates a timestamp outside of a model."""
Flag = Annotated[StrictBool, BeforeValidator(_flag)]
MOST_LISTED = 200
"""Entries of the longest page."""

Limit = Annotated[int, Field(ge=1, le=MOST_LISTED), BeforeValidator(_digits)]
Cursor = Annotated[str, Field(max_length=2000, description="opaque; from the Link header of another page")]

Precondition = Callable[[int | None], bool]
"""Whether a command may go on, given the version that there is (None: there is no such user)."""


def format_timestamp(value: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds."""
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
