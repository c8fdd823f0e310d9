"""Clients of Redis with time-outs and without retries."""

from collections.abc import Iterable, Sequence
from socket import IPPROTO_TCP, getaddrinfo
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.retry import Retry

__all__ = ["Redis", "connected", "open_client", "run_script"]


def open_client(url: str, timeout_s: float) -> Redis:
    """A client whose commands end after `timeout_s`. It connects when it is used first."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        # Otherwise each connection sends the version of redis-py in two round trips.
        driver_info=None,
    )


def connected(url: str, timeout_s: float) -> Redis:
    """A client that has connected. Raises: RedisError, OSError"""
    client = open_client(resolved(url), timeout_s)
    try:
        client.ping()
    except BaseException:
        client.close()
        raise
    return client


def run_script(redis: Redis, script: str, keys: Sequence[str], values: Iterable[str | bytes | float]) -> Any:
    """Run a Lua script, and return its result. Raises: RedisError, OSError; OutOfMemoryError, if Redis is full"""
    try:
        return redis.eval(script, len(keys), *keys, *values)
    except ResponseError as error:
        # Redis 6 has no other sign than the text of the error.
        if "OOM command not allowed" in str(error):
            raise OutOfMemoryError(str(error)) from None
        raise


def resolved(url: str) -> str:
    """Resolve the host of `url`, so that no request waits for a name look-up. Raises: OSError

    rediss:// keeps its name, which the certificate contains.
    """
    parts = urlsplit(url)
    if parts.scheme != "redis" or not parts.hostname:
        return url
    address = str(getaddrinfo(parts.hostname, parts.port or 6379, proto=IPPROTO_TCP)[0][4][0])
    host = f"[{address}]" if ":" in address else address
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{parts.port or 6379}"))
