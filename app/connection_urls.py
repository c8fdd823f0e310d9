"""Parses URLs of PostgreSQL and Redis strictly, so that no part of a password is taken for a host."""

import re
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from redis.connection import parse_url

_SCHEME = re.compile(r"(?P<scheme>\w+)(?:\+\w+)?://(?P<rest>.*)", re.DOTALL)
_PARTS = re.compile(r"(?:(?P<user>[^:@/?#\[\]]*)(?::(?P<password>[^@/?#\[\]]*))?@)?(?P<place>[^@#\s]*)")
"""The part after the scheme, as in RFC 3986. User and password may contain blanks and letters of any script."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_UNESCAPED = "%!$&'()*+,;=:"
_MAX_PORT = 65535
_ESCAPES = "@ / ? # [ ] % are written as %40 %2F %3F %23 %5B %5D %25 in its user and password"


def normalize_database_url(url: str) -> str:
    """Convert postgres://, postgresql:// and postgresql+driver:// to a URL of libpq. Raises: ValueError"""
    normal = f"postgresql://{_rest(url, ('postgres', 'postgresql'))}"
    if _BAD_ESCAPE.search(normal):
        raise _unreadable()
    libpq_parameters(normal)
    return normal


def libpq_parameters(url: str) -> dict[str, str]:
    """The parameters of libpq in a URL: host, port, user, password, dbname and others. Raises: ValueError"""
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The text of the error may contain the password.
        raise ValueError("has a parameter after the ? that PostgreSQL does not know") from None
    except UnicodeDecodeError:
        raise _unreadable() from None
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    if not all(_is_port(port) for port in parameters.get("port", "").split(",") if port):
        raise ValueError(f"has a port that is no number from 1 to {_MAX_PORT}")
    return parameters


def normalize_redis_url(url: str) -> str:
    """Convert redis://, rediss:// and unix:// to a URL of redis-py. Raises: ValueError"""
    rest = _rest(url, ("redis", "rediss", "unix"))
    normal = f"{url.partition('://')[0]}://{rest}"
    check_port(normal)
    try:
        parse_url(normal)  # type: ignore[no-untyped-call]
    except ValueError:
        raise ValueError("has a database or a parameter that Redis does not know") from None
    return normal


def check_port(url: str) -> None:
    """Check host and port. Raises: ValueError"""
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(f"has a port that is no number from 0 to {_MAX_PORT}, or a host in brackets") from None


def without_password(url: str) -> str:
    """`url` without password and query, for messages."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, user.partition(":")[0] + at + host, parts.path, "", ""))


def _rest(url: str, schemes: tuple[str, ...]) -> str:
    """The part after ://, in which user and password are escaped."""
    found = _SCHEME.fullmatch(url)
    if found is None or found["scheme"] not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    parts = _PARTS.fullmatch(found["rest"])
    if parts is None:
        raise _unreadable()
    if parts["user"] is None:
        return parts["place"]
    password = "" if parts["password"] is None else f":{quote(parts['password'], safe=_UNESCAPED)}"
    return f"{quote(parts['user'], safe=_UNESCAPED)}{password}@{parts['place']}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT


def _unreadable() -> ValueError:
    return ValueError(f"can't be read: {_ESCAPES}")
