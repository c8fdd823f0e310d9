"""Clients of Redis with time-outs and without retries."""

from collections.abc import Iterable, Sequence
from socket import IPPROTO_TCP, getaddrinfo
from typing import Any

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
    client = open_client(url, timeout_s)
    if url.startswith("redis://"):
        # So that no request waits for a name look-up. rediss:// keeps the name, which the certificate contains.
        options = client.connection_pool.connection_kwargs
        options["host"] = getaddrinfo(options["host"], None, proto=IPPROTO_TCP)[0][4][0]
    client.ping()
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
