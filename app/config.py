"""Every setting: its variable, unit, default and rule. An invalid setting stops the start."""

import contextlib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from app.connection_settings import ConnectionSettings, check_port
from app.errors import SettingsError

CONNECT_TIMEOUT_S = 3
"""Time-out of a new connection to PostgreSQL, in seconds. It is no setting."""
_KUBERNETES_PORT = re.compile(r"\s*(?:tcp|udp)://\S+:(\d+)/?\s*", re.ASCII)
_MEMORY_SHARE, _MAX_MEMORY_MIB = 16, 65536
_RENAMED = {
    "WRITE_LIMIT": "WRITE_RATE_PER_MINUTE",
    "START_TIMEOUT_S": "DATABASE_WAIT_S",
    "BIND_ADDRESS": "PUBLISHED_ADDRESS",
}
"""Variables of earlier releases, and their present names."""
_LINE_END = re.compile(r"\r?\n\Z")
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The memory limit of a container (cgroups 2 and 1)."""


def _split(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Networks = Annotated[tuple[Annotated[Network, BeforeValidator(ipaddress.ip_network)], ...], BeforeValidator(_split)]
_Names = Annotated[frozenset[str], BeforeValidator(_split)]


class Settings(ConnectionSettings):
    """The settings of one process. A field is read from the variable of its name in upper case.

    Each variable NAME can be replaced by NAME_FILE, the path of a file that contains the value.
    """

    cache_ttl_s: int = Field(default=3600, ge=0, le=86400)
    """How long Redis and the processes cache, in seconds; 0 disables caches."""
    cache_memory_mib: int | None = Field(default=None, ge=0, le=_MAX_MEMORY_MIB)
    """Memory for cached responses, tokens and account statuses of all workers together, in MiB; 0 disables this cache.
    By default a sixteenth of the memory of the machine or container."""

    listen_address: str = "127.0.0.1"
    """Address that the server listens on."""
    port: int = Field(default=5000, ge=1, le=65535)
    """Port that the server listens on."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of LISTEN_ADDRESS that serves metrics for Prometheus; 0: none."""
    published_address: str = ""
    """Address at which clients reach the service, if it is not LISTEN_ADDRESS."""
    allowed_hosts: _Names = frozenset()
    """Further host names, separated by commas, that a Host header may contain."""
    trusted_proxies: _Networks = ()
    """Addresses or networks of proxies, separated by commas, whose X-Forwarded-* is trusted."""
    adminer_url: str = ""
    """URL of Adminer, to which the console links."""

    admin_email: str = ""
    """Email of the first administrator, who is created at start."""
    admin_password: str = Field(default="", repr=False)
    """Password of the first administrator."""
    self_editable_attributes: _Names = frozenset()
    """Keys of `attributes`, separated by commas, that users may change in their own record."""
    session_idle_h: float = Field(default=12.0, gt=0, le=8760)
    """Hours after which an unused session ends."""
    session_max_days: float = Field(default=14.0, gt=0, le=3650)
    """Days after which any session ends."""
    history_days: int = Field(default=0, ge=0, le=36500)
    """Days after which entries of the history are deleted; 0: never."""
    trash_days: int = Field(default=0, ge=0, le=36500)
    """Days after which users in the trash are purged; 0: never."""
    write_rate_per_minute: int = Field(default=600, ge=0, le=10**9)
    """Writes of one credential per minute; 0: no limit."""

    workers: int = Field(default=0, ge=0, le=256)
    """Worker processes; 0: one per core, at most 2."""
    threads: int = Field(default=64, ge=1, le=1024)
    """Threads of each worker."""
    replicas: int = Field(default=1, ge=1, le=1000)
    """Replicas of the service that use the same PostgreSQL."""
    site_address: str = ""
    """Host name at which clients reach the service with HTTPS; `flask doctor --production` checks it."""

    max_body_bytes: int = Field(default=2**20, ge=1024, le=2**30)
    """Maximum size of a request body, in bytes."""
    idempotency_ttl_h: int = Field(default=24, ge=1, le=720)
    """How long the response to an Idempotency-Key is kept, in hours."""
    database_wait_s: float = Field(default=60.0, gt=0, le=3600)
    """How long the start waits for PostgreSQL, in seconds."""
    drain_delay_s: float = Field(default=1.0, ge=0, le=8)
    """How long /api/health/ready is 503 before the server stops, in seconds."""
    backup_status_file: str = ""
    """File in which the service `backup` writes the state of the backups; empty: their state is unknown."""
    otel_exporter_otlp_endpoint: str = ""
    """URL of an OpenTelemetry collector (OTLP over HTTP), to which traces are sent. Empty: there are no traces."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    log_addresses: bool = False
    """Whether the log line of a request has the address of the client."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """Format of a log line; auto: text on a terminal, else json."""

    @field_validator("redis_port", "port", "metrics_port", mode="before")
    @classmethod
    def _read_port(cls, value: object) -> object:
        """Accept tcp://host:port: Kubernetes sets NAME_PORT to it in the containers beside a service NAME."""
        match = _KUBERNETES_PORT.fullmatch(value) if isinstance(value, str) else None
        return match[1] if match else value

    @field_validator("adminer_url")
    @classmethod
    def _check_web_address(cls, value: str) -> str:
        if value and value.partition("://")[0].lower() not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        check_port(value)
        return value

    @field_validator("site_address")
    @classmethod
    def _check_host_name(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.-]*", value):
            raise ValueError("must be a host name, such as users.example.com, without https://, port and path")
        return value

    @field_validator("allowed_hosts", "log_level", "log_format", mode="before")
    @classmethod
    def _lowercase(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_first_administrator(self) -> Self:
        if bool(self.admin_email) != bool(self.admin_password):
            raise SettingsError("ADMIN_EMAIL and ADMIN_PASSWORD (or ADMIN_PASSWORD_FILE) go together: set both.")
        return self

    @model_validator(mode="after")
    def _check_metrics_port(self) -> Self:
        if self.metrics_port == self.port:
            raise SettingsError("METRICS_PORT and PORT are the same: each needs a port of its own.")
        return self

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the service, which then needs an administrator."""
        return not is_loopback(self.published_address or self.listen_address)

    @property
    def worker_count(self) -> int:
        """The number of worker processes. On two cores more than two were slower."""
        return self.workers or min(2, os.cpu_count() or 1)

    @property
    def cache_memory_bytes(self) -> int:
        """CACHE_MEMORY_MIB or its default, in bytes."""
        if self.cache_memory_mib is not None:
            return self.cache_memory_mib * 2**20
        return min(_memory_bytes() // _MEMORY_SHARE, _MAX_MEMORY_MIB * 2**20)


def load_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """The settings of the environment. `overrides` (fields of Settings) take precedence.

    Raises: SettingsError, with the name of every invalid variable, and never with its value
    """
    values = _read_variables(os.environ if environ is None else environ)
    try:
        return Settings.model_validate({**values, **overrides})
    except ValidationError as error:
        messages = (
            f"{str(detail['loc'][0]).upper() if detail['loc'] else 'settings'}:"
            f" {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError("; ".join(messages)) from None


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`: an IP address or `localhost`."""
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def _read_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The values of the settings whose variable NAME or NAME_FILE is set. An empty variable counts as not set.

    Raises: SettingsError
    """
    _refuse_renamed(environ)
    values = ((name, _read(environ, name.upper())) for name in Settings.model_fields)
    return {name: value for name, value in values if value is not None}


def _refuse_renamed(environ: Mapping[str, str]) -> None:
    suffixed = ((f"{old}{suffix}", f"{new}{suffix}") for old, new in _RENAMED.items() for suffix in ("", "_FILE"))
    found = [f"{old} is now {new}" for old, new in suffixed if environ.get(old)]
    if found:
        raise SettingsError(f"{'; '.join(found)}. Rename the variable.")


def _read(environ: Mapping[str, str], name: str) -> str | None:
    """The variable NAME, or the text of the file NAME_FILE, without one final line end. None: neither is set."""
    value, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value and path:
        raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them.")
    if not path:
        return _LINE_END.sub("", value) or None
    return _LINE_END.sub("", _read_file(name, path))


def _read_file(name: str, path: str) -> str:
    """The text of a file in UTF-8, without a byte order mark."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{name}_FILE: can't read {path}: {error.__class__.__name__}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}_FILE: {path} is no text in UTF-8") from None
    if "\0" in text:
        raise SettingsError(f"{name}_FILE: {path} holds a NUL; it must be text in UTF-8")
    return text


def _memory_bytes() -> int:
    """The memory of the machine, or of the container if its limit is lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            # The file contains "max" if there is no limit.
            limits.append(int(path.read_text(encoding="ascii")))
    return min(limits)
