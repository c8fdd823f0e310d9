"""The further checks of `flask doctor --production`."""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import psycopg

from app.config import Settings, is_loopback
from app.db.connection_limit import connection_limit
from app.db.database_role import inspect_owner
from app.ops.site_check import site_problems

_PROXY = "caddy"
"""The service of docker-compose.prod.yml that terminates HTTPS."""
_DOCKER = ipaddress.ip_network("172.16.0.0/12")
"""Docker gives networks of this block, with 65,536 addresses each, to containers."""
_FIXED_PREFIX, _WIDE_PREFIXES = 24, {4: 16, 6: 48}
_MIN_LENGTH, _MIN_DISTINCT = 12, 8
"""Of a secret: characters, and different characters."""
_DEFAULTS = frozenset({"administrator", "fullstack-app", "fullstack_app", "a few words make a good one"})
"""Defaults that are long enough. deploy/check-secrets has more."""


class Finding(NamedTuple):
    """The name of a check, its result (ok, warning or failed), and an explanation."""

    name: str
    result: str
    explanation: str


def production_findings(settings: Settings) -> Iterator[Finding]:
    """The results of all checks. They don't contain secrets."""
    for name, problems, result, good in _CHECKS:
        found = [Finding(name, result, problem) for problem in problems(settings)]
        yield from found or [Finding(name, "ok", good)]


def _proxies(settings: Settings) -> Iterator[str]:
    how = "let it contain only the proxy, or a small network that only the proxy and web use"
    if not settings.trusted_proxies:
        yield f"TRUSTED_PROXIES is empty, so all clients have the address of the proxy: {how}"
    for network in settings.trusted_proxies:
        is_of_docker = network.version == _DOCKER.version and network.overlaps(_DOCKER)
        if is_of_docker and network.prefixlen < _FIXED_PREFIX:
            yield f"TRUSTED_PROXIES has {network}, addresses of other containers, which could forge theirs: {how}"
        elif network.prefixlen < _WIDE_PREFIXES[network.version] and not network.is_loopback:
            yield f"TRUSTED_PROXIES has {network}, so too many machines could forge their address: {how}"


def _owner(settings: Settings) -> Iterator[str]:
    user = settings.database_parameters.get("user")
    try:
        if inspect_owner(settings)[0]:
            yield f"the owner of the tables, {user}, is a superuser: see docs/operations.md, The owner of the tables"
    except psycopg.Error as error:
        yield f"the rights of the owner are unknown ({error.__class__.__name__})"


def _secrets(settings: Settings) -> Iterator[str]:
    secrets = {
        "POSTGRES_PASSWORD": settings.database_parameters.get("password", ""),
        "REDIS_PASSWORD": unquote(urlsplit(settings.redis_address).password or ""),
        **({"ADMIN_PASSWORD": settings.admin_password} if settings.admin_password else {}),
    }
    weak = f"is a default, or has less than {_MIN_LENGTH} characters, or less than {_MIN_DISTINCT} different ones"
    for name, secret in secrets.items():
        if not secret:
            yield f"{name} is missing: let the server ask for a password, and set {name}_FILE"
        elif (
            len(secret) < _MIN_LENGTH
            or len(set(secret)) < _MIN_DISTINCT
            or secret.lower() in (*_DEFAULTS, name.lower())
        ):
            yield f"{name} {weak}: openssl rand -hex 24 makes a good one"
        elif exposed := [key for key, text in os.environ.items() if secret in text + unquote(text)]:
            yield f"`docker inspect` shows the secret in {', '.join(exposed)}: use {name}_FILE"


def _site(settings: Settings) -> Iterator[str]:
    name = host = settings.site_address
    if not name:
        yield "SITE_ADDRESS is not set, so the certificate can't be checked: set it to the host name of the service"
        return
    # Without such a container, the name leads to another proxy.
    with contextlib.suppress(OSError):
        socket.getaddrinfo(_PROXY, None)
        host = _PROXY
    yield from site_problems(name, host)


def _connections(settings: Settings) -> Iterator[str]:
    try:
        needed, available, advice = connection_limit(settings)
    except psycopg.Error as error:
        yield f"the limit of connections is unknown ({error.__class__.__name__})"
        return
    if needed > available:
        yield f"all replicas may open {needed} connections, and PostgreSQL accepts {available}: {advice}"


def _plain_connections(settings: Settings) -> Iterator[str]:
    """Connections without encryption to hosts that are no containers of the same network, nor this machine."""
    host = settings.database_parameters.get("host", "")
    # An error is reported by another check.
    with contextlib.suppress(psycopg.Error):
        if _is_remote(host) and not inspect_owner(settings)[1]:
            yield f"the connection to PostgreSQL at {host} is not encrypted: add ?sslmode=verify-full to DATABASE_URL"
    redis = urlsplit(settings.redis_address)
    if redis.scheme == "redis" and _is_remote(redis.hostname or ""):
        yield f"the connection to Redis at {redis.hostname} is not encrypted: use rediss:// in REDIS_URL"


def _is_remote(host: str) -> bool:
    """Whether it is no Unix socket, no address of this machine, and no name of a service such as `db`."""
    return ("." in host or ":" in host) and not host.startswith("/") and not is_loopback(host)


_CHECKS: tuple[tuple[str, Callable[[Settings], Iterator[str]], str, str], ...] = (
    ("proxies", _proxies, "failed", "TRUSTED_PROXIES has only addresses of the proxy, or a small network"),
    ("owner", _owner, "failed", "the owner of the tables is no superuser"),
    ("secrets", _secrets, "failed", "they come from files, and are no defaults"),
    ("site", _site, "failed", "the certificate is valid, HTTP is redirected to HTTPS, and there is HSTS"),
    ("connections", _connections, "failed", "PostgreSQL accepts those of all replicas and of one more"),
    ("encryption", _plain_connections, "warning", "no plain connection to PostgreSQL or Redis leaves the network"),
)
"""The name of each check, its problems, their result, and the explanation if there are none."""
