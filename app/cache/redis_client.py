"""Clients of Redis, with time-outs and without retries."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from socket import IPPROTO_TCP, getaddrinfo
from typing import Any

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import N_, Unavailable
from app.ops.circuit_breaker import CircuitBreaker

__all__ = ["RedisStore", "open_client", "run_script"]


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


class RedisStore:
    """The base of everything that is stored in Redis: a client behind a circuit breaker. It connects at the first use.

    name: of the circuit breaker, in the log. timeout_s: of each command.
    unavailable_message, full_message: of its errors.
    """

    unavailable_message = N_("Redis is unavailable. Try again shortly.")
    full_message = N_("Redis has no memory left. Try again later.")

    def __init__(self, name: str, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._client: Redis | None = None
        self.breaker = CircuitBreaker(name, self._connect)

    def ping(self) -> None:
        """Check that Redis answers, if necessary on a new connection. Raises: RedisError, OSError"""
        try:
            with self._redis() as redis:
                redis.ping()
        except Unavailable:
            self._connect()
            self.breaker.worked()

    def close(self) -> None:
        """Close all connections."""
        self.breaker.close()
        if self._client is not None:
            self._client.close()

    def require_up(self) -> None:
        """Require that the circuit breaker is closed, without a request to Redis. Raises: Unavailable"""
        if not self.breaker.up:
            raise Unavailable(self.unavailable_message)

    @contextlib.contextmanager
    def _redis(self) -> Iterator[Redis]:
        """The client, for the commands of the block. Their errors open the circuit breaker. Raises: Unavailable"""
        self.require_up()
        try:
            yield self._client or self._connect()
        except exceptions.OutOfMemoryError:
            # Redis can still be read, so the circuit stays closed.
            raise Unavailable(self.full_message) from None
        except (exceptions.RedisError, OSError) as error:
            self.breaker.failed(error)
            raise Unavailable(self.unavailable_message) from None

    def _connect(self) -> Redis:
        """Replace the client. Raises: RedisError, OSError"""
        client = open_client(self._url, self._timeout_s)
        if self._url.startswith("redis://"):
            # So that no request waits for a name look-up. rediss:// keeps the name, which the certificate contains.
            options = client.connection_pool.connection_kwargs
            options["host"] = getaddrinfo(options["host"], None, proto=IPPROTO_TCP)[0][4][0]
        client.ping()
        self._client = client
        return client


def run_script(redis: Redis, script: str, keys: Sequence[str], values: Iterable[str | bytes | float]) -> Any:
    """Run a Lua script, and return its result. Raises: RedisError, OSError; OutOfMemoryError, if Redis is full"""
    try:
        return redis.eval(script, len(keys), *keys, *values)
    except exceptions.ResponseError as error:
        # Redis 6 has no other sign than the text of the error.
        if "OOM command not allowed" in str(error):
            raise exceptions.OutOfMemoryError(str(error)) from None
        raise
