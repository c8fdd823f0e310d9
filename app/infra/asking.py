"""One command for Redis, and what can be done until it answers."""

from collections.abc import Callable
from typing import Any

from redis import Redis


def nothing() -> None:
    """Do nothing meanwhile."""


def ask(redis: Redis, *command: str | bytes | float, meanwhile: Callable[[], object] = nothing) -> Any:
    """What Redis answers to a command; `meanwhile` is done before it is waited for. Raises: RedisError or OSError

    The client's own way also measures, retries and minds clusters, which takes as long again.
    """
    pool = redis.connection_pool
    connection: Any = pool.get_connection()
    try:
        connection.send_packed_command(connection.pack_command(*command))
        meanwhile()
        return connection.read_response()
    except BaseException:
        # An answer that was not read must not be taken for that to the next command.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
