"""One command for Redis, and what can be done until it answers."""

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError


def nothing() -> None:
    """Do nothing meanwhile."""


def ask(redis: Redis, *command: str | bytes | float, meanwhile: Callable[[], object] = nothing) -> Any:
    """What Redis answers to a command; `meanwhile` is done before it is waited for.

    The client's own way also measures, retries and minds clusters, which takes as long again.
    Raises: RedisError or OSError; OutOfMemoryError, when Redis is full
    """
    pool = redis.connection_pool
    connection: Any = pool.get_connection()
    try:
        connection.send_packed_command(connection.pack_command(*command))
        meanwhile()
        return connection.read_response()
    except ResponseError as error:
        # In a script Redis 6 says so by a text.
        if "OOM command not allowed" in str(error):
            raise OutOfMemoryError(str(error)) from None
        raise
    except BaseException:
        # An answer that was not read must not be taken for that to the next command.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
