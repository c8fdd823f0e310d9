"""Settings of the connections to PostgreSQL and Redis.

URLs are parsed strictly, so that no part of a password is taken for a host.
"""

import hashlib
import hmac
import re
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from redis.connection import parse_url

_SCHEME = re.compile(r"(?P<scheme>\w+)(?:\+\w+)?://(?P<rest>.*)", re.DOTALL)
_PARTS = re.compile(r"(?:(?P<user>[^:@/?#\[\]]*)(?::(?P<password>[^@/?#\[\]]*))?@)?(?P<place>[^@#\s]*)")
"""The part after the scheme, as in RFC 3986. User and password may contain blanks and letters of any script."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_UNESCAPED = "%!$&'()*+,;=:"
_MAX_PORT = 65535
_UNREADABLE = "can't be read: @ / ? # [ ] % are written as %40 %2F %3F %23 %5B %5D %25 in its user and password"
_SECRETS = frozenset({"admin_password", "postgres_password", "redis_password"})
"""Settings that keep their outer white space. All others are trimmed."""


class ConnectionSettings(BaseModel):
    """The base of config.Settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: str = Field(default="postgresql://postgres:password@db:5432/usersdb", repr=False)
    """URL of PostgreSQL, with the owner of the tables."""
    postgres_user: str = ""
    """User of PostgreSQL; replaces the user in DATABASE_URL."""
    postgres_password: str = Field(default="", repr=False)
    """Password of PostgreSQL, unescaped; replaces the password in DATABASE_URL."""
    postgres_db: str = ""
    """Database of PostgreSQL; replaces the database in DATABASE_URL."""
    database_pool_size: int = Field(default=10, ge=1, le=500)
    """Size of the connection pool of each worker."""
    database_timeout_s: float = Field(default=5.0, gt=0, le=300)
    """Time-out of a statement, and of waiting for a connection, in seconds."""
    database_role: str = Field(default="fullstack_app", min_length=1, max_length=63)
    """Role of the service in PostgreSQL, created at start unless it is the user of DATABASE_URL."""

    redis_url: str = Field(default="", repr=False)
    """URL of Redis; replaces the next three."""
    redis_host: str = Field(default="cache", min_length=1)
    """Host of Redis."""
    redis_port: int = Field(default=6379, ge=1, le=65535)
    """Port of Redis."""
    redis_password: str = Field(default="", repr=False)
    """Password of Redis."""
    redis_timeout_ms: int = Field(default=25, ge=5, le=1000)
    """Time-out of a command of Redis, in milliseconds."""

    @field_validator("*", mode="before")
    @classmethod
    def _trim(cls, value: object, info: ValidationInfo) -> object:
        return value.strip() if isinstance(value, str) and info.field_name not in _SECRETS else value

    @field_validator("database_url")
    @classmethod
    def _normalize_database_url(cls, value: str) -> str:
        """Convert postgres://, postgresql:// and postgresql+driver:// to a URL of libpq."""
        normal = f"postgresql://{_rest(value, ('postgres', 'postgresql'))}"
        if _BAD_ESCAPE.search(normal):
            raise ValueError(_UNREADABLE)
        _libpq_parameters(normal)
        return normal

    @field_validator("redis_url")
    @classmethod
    def _normalize_redis_url(cls, value: str) -> str:
        """Convert redis://, rediss:// and unix:// to a URL of redis-py."""
        if not value:
            return value
        normal = f"{value.partition('://')[0]}://{_rest(value, ('redis', 'rediss', 'unix'))}"
        check_port(normal)
        try:
            parse_url(normal)  # type: ignore[no-untyped-call]
        except ValueError:
            raise ValueError("has a database or a parameter that Redis does not know") from None
        return normal

    @property
    def database_parameters(self) -> dict[str, str]:
        """Parameters of libpq for the owner of the tables: those of DATABASE_URL, replaced by POSTGRES_*."""
        given = {"user": self.postgres_user, "password": self.postgres_password, "dbname": self.postgres_db}
        return _libpq_parameters(self.database_url) | {name: value for name, value in given.items() if value}

    @property
    def database_conninfo(self) -> str:
        """The same as a connection string of libpq."""
        return make_conninfo(**self.database_parameters)

    @property
    def role_conninfo(self) -> str | None:
        """The connection string of DATABASE_ROLE. None: the settings contain no password of the owner."""
        owner = self.database_parameters
        if not owner.get("password"):
            return None
        return make_conninfo(**owner | {"user": self.database_role, "password": self.role_password})

    @property
    def role_password(self) -> str:
        """The password of DATABASE_ROLE, derived from the password of the owner: it is stored nowhere."""
        key = self.database_parameters.get("password", "").encode()
        return hmac.new(key, f"role {self.database_role}".encode(), hashlib.sha256).hexdigest()

    @property
    def database_address(self) -> str:
        """The URL of PostgreSQL without its password, for messages."""
        found = {"host": "", "port": "", "user": "", "dbname": "", **self.database_parameters}
        port = f":{found['port']}" if found["port"] else ""
        return f"postgresql://{found['user']}@{found['host']}{port}/{found['dbname']}"

    @property
    def redis_address(self) -> str:
        """The URL of Redis: REDIS_URL, or the URL that REDIS_HOST, REDIS_PORT and REDIS_PASSWORD give."""
        if self.redis_url:
            return self.redis_url
        secret = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
        host = f"[{self.redis_host}]" if ":" in self.redis_host else self.redis_host
        return f"redis://{secret}{host}:{self.redis_port}/0"


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


def _libpq_parameters(url: str) -> dict[str, str]:
    """The parameters of libpq in a URL: host, port, user, password, dbname and others. Raises: ValueError"""
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The text of the error may contain the password.
        raise ValueError("has a parameter after the ? that PostgreSQL does not know") from None
    except UnicodeDecodeError:
        raise ValueError(_UNREADABLE) from None
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    if not all(_is_port(port) for port in parameters.get("port", "").split(",") if port):
        raise ValueError(f"has a port that is no number from 1 to {_MAX_PORT}")
    return parameters


def _rest(url: str, schemes: tuple[str, ...]) -> str:
    """The part after ://, in which user and password are escaped."""
    found = _SCHEME.fullmatch(url)
    if found is None or found["scheme"] not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    parts = _PARTS.fullmatch(found["rest"])
    if parts is None:
        raise ValueError(_UNREADABLE)
    if parts["user"] is None:
        return parts["place"]
    password = "" if parts["password"] is None else f":{quote(parts['password'], safe=_UNESCAPED)}"
    return f"{quote(parts['user'], safe=_UNESCAPED)}{password}@{parts['place']}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT
