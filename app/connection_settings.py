"""Settings of the connections to PostgreSQL and Redis."""

import hashlib
import hmac
from urllib.parse import quote

from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from app.connection_urls import libpq_parameters, normalize_database_url, normalize_redis_url

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
        return normalize_database_url(value)

    @field_validator("redis_url")
    @classmethod
    def _normalize_redis_url(cls, value: str) -> str:
        return normalize_redis_url(value) if value else value

    @property
    def database_parameters(self) -> dict[str, str]:
        """Parameters of libpq for the owner of the tables: those of DATABASE_URL, replaced by POSTGRES_*."""
        given = {"user": self.postgres_user, "password": self.postgres_password, "dbname": self.postgres_db}
        return libpq_parameters(self.database_url) | {name: value for name, value in given.items() if value}

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
