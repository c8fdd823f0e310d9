"""A private PostgreSQL and Redis without Docker, for `make run` and the tests."""

from embedded.errors import AlreadyInUse, ServerError
from embedded.postgres import Postgres
from embedded.redis import Redis
from embedded.servers import FAST, Stack, stack

__all__ = ["FAST", "AlreadyInUse", "Postgres", "Redis", "ServerError", "Stack", "stack"]
