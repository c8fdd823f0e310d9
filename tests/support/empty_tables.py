"""Empties the tables of the application between tests."""

from typing import Any, LiteralString

import psycopg
import redis

from embedded import Stack

INTERNAL = "-c fullstack_app.internal=yes"
"""Connection options that mark changes as internal, so the triggers do not record them in the history."""

# TRUNCATE makes new files for 30 tables and indexes, which takes 40 ms; DELETE of a few rows takes one. A table that
# is large or that was analysed is truncated: afterwards, for the planner, both ways leave a table that is new.
_EMPTY = """
DO $$ BEGIN
    SET LOCAL fullstack_app.internal = 'yes';  -- or the deletions would be entries of the history
    IF EXISTS (
        SELECT FROM pg_class WHERE oid = ANY ('{users, history, idempotency_keys, tokens}'::regclass[])
        AND (reltuples >= 0 OR pg_table_size(oid) > 65536)
    ) THEN
        TRUNCATE users, history, idempotency_keys, tokens, retention;
    ELSE
        DELETE FROM tokens;
        DELETE FROM idempotency_keys;
        DELETE FROM users;
        DELETE FROM history;
        DELETE FROM retention;
    END IF;
END $$
"""


class Cleaner:
    """Empties the tables and Redis by connections that stay open."""

    def __init__(self, servers: Stack) -> None:
        self._url, self._redis = servers.postgres.url, redis.Redis.from_url(servers.redis.url)
        self._connection = self._connect()

    def empty(self) -> None:
        self.execute(_EMPTY)
        self._redis.flushall()

    def delete_administrators(self) -> None:
        """A remaining administrator would end the setup mode of services that later tests start."""
        self.execute("DELETE FROM users WHERE role = 'admin'")

    def execute(self, statement: LiteralString) -> None:
        """Execute SQL whose changes the history does not record. Connects again if a test ended the connection."""
        try:
            self._connection.execute(statement)
        except psycopg.OperationalError:
            self._connection = self._connect()
            self._connection.execute(statement)

    def close(self) -> None:
        self._connection.close()
        self._redis.close()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url, autocommit=True, options=INTERNAL)


def empty_tables(connection: psycopg.Connection[Any]) -> None:
    """Delete all rows of all tables."""
    connection.execute(_EMPTY)
