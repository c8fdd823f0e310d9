"""URLs of PostgreSQL and Redis: read strictly, so that no part of a password passes for a host."""

import re
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from redis.connection import parse_url

_SCHEME = re.compile(r"(?P<scheme>\w+)(?:\+\w+)?://(?P<rest>.*)", re.DOTALL)
_PARTS = re.compile(r"(?:(?P<user>[^:@/?#\[\]]*)(?::(?P<password>[^@/?#\[\]]*))?@)?(?P<place>[^@#\s]*)")
"""After the scheme, as RFC 3986 has it. Blanks and letters of any script are fine in user and password."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_KEPT = "%!$&'()*+,;=:"
_HIGHEST_PORT = 65535
_ESCAPES = "@ / ? # [ ] % are written as %40 %2F %3F %23 %5B %5D %25 in its user and password"


def normal_database_url(url: str) -> str:
    """A URL that libpq reads: of postgres://, postgresql:// and postgresql+driver://. Raises: ValueError"""
    normal = f"postgresql://{_rest(url, ('postgres', 'postgresql'))}"
    if _BAD_ESCAPE.search(normal):
        raise _unreadable()
    libpq_parameters(normal)
    return normal


def libpq_parameters(url: str) -> dict[str, str]:
    """What libpq reads in a URL: host, port, user, password, dbname and others. Raises: ValueError"""
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Its text holds what could not be read, and that may be the password.
        raise ValueError("has a parameter after the ? that PostgreSQL does not know") from None
    except UnicodeDecodeError:
        raise _unreadable() from None
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    if not all(_is_port(port) for port in parameters.get("port", "").split(",") if port):
        raise ValueError(f"has a port that is no number from 1 to {_HIGHEST_PORT}")
    return parameters


def normal_redis_url(url: str) -> str:
    """A URL that redis-py reads: redis://, rediss:// or unix://. Raises: ValueError"""
    rest = _rest(url, ("redis", "rediss", "unix"))
    normal = f"{url.partition('://')[0]}://{rest}"
    check_port(normal)
    try:
        parse_url(normal)  # type: ignore[no-untyped-call]
    except ValueError:
        raise ValueError("has a database or a parameter that Redis does not know") from None
    return normal


def check_port(url: str) -> None:
    """Raises: ValueError, for a URL whose host or port can't be read"""
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(f"has a port that is no number from 0 to {_HIGHEST_PORT}, or a host in brackets") from None


def without_password(url: str) -> str:
    """`url` as it may be shown to people: user, host and path, but no password or query."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, user.partition(":")[0] + at + host, parts.path, "", ""))


def _rest(url: str, schemes: tuple[str, ...]) -> str:
    """What follows ://, with blanks and letters beyond ASCII in user and password escaped."""
    found = _SCHEME.fullmatch(url)
    if found is None or found["scheme"] not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    parts = _PARTS.fullmatch(found["rest"])
    if parts is None:
        raise _unreadable()
    if parts["user"] is None:
        return parts["place"]
    password = "" if parts["password"] is None else f":{quote(parts['password'], safe=_KEPT)}"
    return f"{quote(parts['user'], safe=_KEPT)}{password}@{parts['place']}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= _HIGHEST_PORT


def _unreadable() -> ValueError:
    return ValueError(f"can't be read: {_ESCAPES}")
