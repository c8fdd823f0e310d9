"""Every setting: its variable, unit, default and rule. Nonsense is refused at start."""

import contextlib
import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from app.connection_urls import check_port, libpq_parameters, normal_database_url, normal_redis_url
from app.errors import SettingsError

_SECRETS = frozenset({"admin_password", "postgres_password", "redis_password"})
"""Settings whose blanks count. All others lose those around them, a carriage return among them."""
_LINE_END = re.compile(r"\r?\n\Z")
_SERVICE_LINK = re.compile(r"\s*(?:tcp|udp)://\S+:(\d+)/?\s*", re.ASCII)
_RENAMED = {
    "WRITE_LIMIT": "WRITE_RATE_PER_MINUTE",
    "START_TIMEOUT_S": "DATABASE_WAIT_S",
    "BIND_ADDRESS": "PUBLISHED_ADDRESS",
}
"""Variables of earlier releases, and their names now."""
_MEMORY_SHARE, _MOST_MEMORY_MIB = 16, 65536
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit stands (cgroups 2 and 1)."""


class Settings(BaseModel):
    """The settings of one process. A field is read from the variable of its name in capitals.

    Every variable also exists as NAME_FILE, the path of a file that holds the value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: Annotated[str, Field(repr=False, description="where PostgreSQL is, and who owns its tables")] = (
        "postgresql://postgres:password@db:5432/usersdb"
    )
    postgres_user: Annotated[str, Field(description="user of PostgreSQL, in place of the one in DATABASE_URL")] = ""
    postgres_password: Annotated[
        str, Field(repr=False, description="password of PostgreSQL, in place of the one in DATABASE_URL, unescaped")
    ] = ""
    postgres_db: Annotated[str, Field(description="database of PostgreSQL, in place of the one in DATABASE_URL")] = ""
    database_pool_size: Annotated[int, Field(ge=1, le=500, description="connections that a worker keeps")] = 10
    database_timeout_s: Annotated[
        float, Field(gt=0, le=300, description="longest statement, and wait for a connection, in seconds")
    ] = 5.0

    database_role: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            description="role that the service works as, made at start; the user of DATABASE_URL: none is made",
        ),
    ] = "fullstack_app"

    redis_url: Annotated[str, Field(repr=False, description="where Redis is; replaces the next three")] = ""
    redis_host: Annotated[str, Field(min_length=1, description="host of Redis")] = "cache"
    redis_port: Annotated[int, Field(ge=1, le=65535, description="port of Redis")] = 6379
    redis_password: Annotated[str, Field(repr=False, description="password of Redis")] = ""
    redis_timeout_ms: Annotated[
        int, Field(ge=5, le=1000, description="longest answer of Redis that is waited for, in milliseconds")
    ] = 25
    cache_ttl_s: Annotated[
        int,
        Field(ge=0, le=86400, description="how long an answer is kept, in Redis and in memory, in seconds; 0: not"),
    ] = 3600

    cache_memory_mib: Annotated[
        int | None,
        Field(
            ge=0,
            le=_MOST_MEMORY_MIB,
            description="memory for answers, of all workers together, in MiB; 0 turns it off;"
            " by default a sixteenth of the machine's (or container's)",
        ),
    ] = None

    listen_address: Annotated[str, Field(description="address that the server listens on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="port that the server listens on")] = 5000
    published_address: Annotated[
        str, Field(description="address that the service is published on; must be given when it listens wider")
    ] = ""
    allowed_hosts: Annotated[
        str, Field(description="further names, separated by commas, that a Host header may hold")
    ] = ""
    trusted_proxies: Annotated[
        str, Field(description="addresses or networks of proxies, separated by commas, whose X-Forwarded-* is believed")
    ] = ""
    adminer_url: Annotated[str, Field(description="address of Adminer, which the console links to")] = ""
    admin_email: Annotated[str, Field(description="address of the first administrator, made at start")] = ""
    admin_password: Annotated[str, Field(repr=False, description="password of the first administrator")] = ""
    self_editable_attributes: Annotated[
        str, Field(description="keys of `attributes`, separated by commas, that users may change of their own record")
    ] = ""
    session_idle_h: Annotated[float, Field(gt=0, le=8760, description="how long an unused session lasts, in hours")] = (
        12.0
    )
    session_max_days: Annotated[float, Field(gt=0, le=3650, description="how long any session lasts, in days")] = 14.0
    write_rate_per_minute: Annotated[
        int, Field(ge=0, le=10**9, description="writes a minute that one credential may make; 0: no limit")
    ] = 600

    workers: Annotated[int, Field(ge=0, le=256, description="worker processes; 0: one a core, 2 at the most")] = 0
    threads: Annotated[int, Field(ge=1, le=1024, description="threads of each worker")] = 64

    max_body_bytes: Annotated[int, Field(ge=1024, le=2**30, description="largest request body, in bytes")] = 2**20
    idempotency_ttl_h: Annotated[
        int, Field(ge=1, le=720, description="how long the answer to an Idempotency-Key is kept, in hours")
    ] = 24
    database_wait_s: Annotated[
        float, Field(gt=0, le=3600, description="how long a start waits for PostgreSQL, in seconds")
    ] = 60.0
    drain_delay_s: Annotated[
        float, Field(ge=0, le=8, description="how long a stopping server says so before it closes, in seconds")
    ] = 1.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least level that is logged")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "text"], Field(description="form of a log line; auto: text on a terminal, else json")
    ] = "auto"

    @field_validator("*", mode="before")
    @classmethod
    def _trimmed(cls, value: object, info: ValidationInfo) -> object:
        return value.strip() if isinstance(value, str) and info.field_name not in _SECRETS else value

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: str) -> str:
        return normal_database_url(value)

    @field_validator("redis_port", "port", mode="before")
    @classmethod
    def _port(cls, value: object) -> object:
        """Take tcp://host:port as well: Kubernetes sets NAME_PORT so in each container beside a service NAME."""
        link = _SERVICE_LINK.fullmatch(value) if isinstance(value, str) else None
        return link[1] if link else value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        return normal_redis_url(value) if value else value

    @field_validator("adminer_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and value.partition("://")[0].lower() not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        check_port(value)
        return value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _first_administrator(self) -> Self:
        if bool(self.admin_email) != bool(self.admin_password):
            raise SettingsError("ADMIN_EMAIL and ADMIN_PASSWORD (or ADMIN_PASSWORD_FILE) go together: give both.")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for name in filter(None, (part.strip() for part in value.split(","))):
            try:
                ipaddress.ip_network(name)
            except ValueError:
                raise ValueError(f"{name} is no address or network, such as 10.0.0.0/8") from None
        return value

    @property
    def is_public(self) -> bool:
        """Whether other machines reach the service, so that it must never be open (as with Redis's protected mode)."""
        return not is_loopback(self.published_address or self.listen_address)

    @property
    def proxy_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """TRUSTED_PROXIES, read."""
        return tuple(ipaddress.ip_network(part.strip()) for part in self.trusted_proxies.split(",") if part.strip())

    @property
    def database_parameters(self) -> dict[str, str]:
        """What libpq needs to connect as the owner of the tables: DATABASE_URL, with POSTGRES_* for its parts."""
        given = {"user": self.postgres_user, "password": self.postgres_password, "dbname": self.postgres_db}
        return libpq_parameters(self.database_url) | {name: value for name, value in given.items() if value}

    @property
    def database_conninfo(self) -> str:
        """The same as a connection string, in which nothing needs to be escaped by us."""
        return make_conninfo(**self.database_parameters)

    @property
    def role_conninfo(self) -> str | None:
        """How the service connects as DATABASE_ROLE; None without a password of the owner.

        The role's password is derived from the owner's: the same on every host, and kept nowhere.
        """
        owner = self.database_parameters
        if not owner.get("password"):
            return None
        return make_conninfo(**owner | {"user": self.database_role, "password": self.role_password})

    @property
    def role_password(self) -> str:
        """The password of DATABASE_ROLE."""
        key = self.database_parameters.get("password", "").encode()
        return hmac.new(key, f"role {self.database_role}".encode(), hashlib.sha256).hexdigest()

    @property
    def database_place(self) -> str:
        """Where PostgreSQL is, as it may be shown to people."""
        found = {"host": "", "port": "", "user": "", "dbname": "", **self.database_parameters}
        port = f":{found['port']}" if found["port"] else ""
        return f"postgresql://{found['user']}@{found['host']}{port}/{found['dbname']}"

    @property
    def redis_address(self) -> str:
        """The one URL of Redis, whichever variables it was given by."""
        if self.redis_url:
            return self.redis_url
        secret = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
        host = f"[{self.redis_host}]" if ":" in self.redis_host else self.redis_host
        return f"redis://{secret}{host}:{self.redis_port}/0"

    @property
    def worker_count(self) -> int:
        """Worker processes. More than two were slower on two cores; threads do the rest."""
        return self.workers or min(2, os.cpu_count() or 1)

    @property
    def keeps_answers(self) -> bool:
        """Whether workers keep answers in their memory."""
        return self.cache_ttl_s > 0 and self.cache_memory_bytes > 0

    @property
    def cache_memory_bytes(self) -> int:
        """CACHE_MEMORY_MIB, or its default, in bytes."""
        if self.cache_memory_mib is not None:
            return self.cache_memory_mib * 2**20
        return min(_memory_bytes() // _MEMORY_SHARE, _MOST_MEMORY_MIB * 2**20)

    @property
    def self_editable_keys(self) -> frozenset[str]:
        """SELF_EDITABLE_ATTRIBUTES without white space around its keys."""
        return frozenset(key.strip() for key in self.self_editable_attributes.split(",") if key.strip())

    @property
    def host_names(self) -> frozenset[str]:
        """ALLOWED_HOSTS in lower case, without white space."""
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())


def load_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """The settings that the environment and `overrides` (which win) give.

    Raises: SettingsError, naming every variable that is wrong, never its value.
    """
    values: dict[str, object] = {}
    source = os.environ if environ is None else environ
    _refuse_renamed(source)
    for name in Settings.model_fields:
        value = _read(source, name.upper())
        if value is not None:
            values[name] = value
    try:
        return Settings.model_validate({**values, **overrides})
    except ValidationError as error:
        faults = (
            f"{str(fault['loc'][0]).upper() if fault['loc'] else 'settings'}:"
            f" {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError("; ".join(faults)) from None


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches `address` (an IP address, or `localhost`)."""
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def _memory_bytes() -> int:
    """What this machine has, or this container may use."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            # "max", where there is no limit.
            found.append(int(path.read_text(encoding="ascii")))
    return min(found)


def _refuse_renamed(environ: Mapping[str, str]) -> None:
    """Raise SettingsError if a variable has its name of an earlier release. An empty variable counts as not set."""
    suffixed = ((f"{old}{suffix}", f"{new}{suffix}") for old, new in _RENAMED.items() for suffix in ("", "_FILE"))
    found = [f"{old} is now {new}" for old, new in suffixed if environ.get(old)]
    if found:
        raise SettingsError(f"{'; '.join(found)}. Rename the variable.")


def _read(environ: Mapping[str, str], name: str) -> str | None:
    """NAME, or what is in the file that NAME_FILE names. An empty variable counts as not set.

    Of either one final line end (LF or CRLF) is cut, and of a file the mark that some editors begin it with.
    """
    value, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value and path:
        raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them.")
    if not path:
        return _LINE_END.sub("", value) or None
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{name}_FILE: can't read {path}: {error.__class__.__name__}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}_FILE: {path} is no text in UTF-8") from None
    if "\0" in text:
        raise SettingsError(f"{name}_FILE: {path} holds a NUL; it must be text in UTF-8")
    return _LINE_END.sub("", text)
