"""Changes by SQL from outside the service, and their history entries."""

# ruff: noqa: S608 - names of ours

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg

from embedded import Stack
from tests.support.api_client import ApiClient

Row = tuple[str | None, str, str | None]
COLUMNS = "(id, username, username_key, name, name_key, search_vector)"


@contextmanager
def role_connection(servers: Stack) -> Iterator[psycopg.Connection[Any]]:
    """A connection of a new role that may write all tables but is not the role of the service."""
    name, url = f"analyst_{uuid.uuid4().hex[:8]}", urlsplit(servers.postgres.url)
    with psycopg.connect(servers.postgres.url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'")
        try:
            owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO {name}")
            own = url._replace(netloc=f"{name}:pw@{url.hostname}:{url.port}").geturl()
            with psycopg.connect(own, autocommit=True) as connection:
                yield connection
        finally:
            owner.execute(f"DROP OWNED BY {name}")
            owner.execute(f"DROP ROLE {name}")


def sql_actor(connection: psycopg.Connection[Any]) -> str:
    """The actor of history entries for changes by this connection."""
    return f"sql:{connection.info.user}"


def history_since(database: psycopg.Connection[Any], *, entry: int = 0) -> list[Row]:
    """User, action and actor of all history entries with an id greater than `entry`."""
    statement = "SELECT user_id::text, action, actor FROM history WHERE id > %s ORDER BY id, user_id"
    return database.execute(statement, [entry]).fetchall()


def last_history_id(database: psycopg.Connection[Any]) -> int:
    """The id of the newest history entry, or 0."""
    return int(database.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()[0])  # type: ignore[index]


def changed_fields(entry: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The old and the new value of each changed field of a history entry."""
    return {change["field"]: (change["old"], change["new"]) for change in entry["changes"]}


def newest_entry(api: ApiClient, user_id: str) -> dict[str, Any]:
    """The newest history entry of a user."""
    return api.get(f"/users/{user_id}/history").json[0]


def insert_users(connection: psycopg.Connection[Any], *names: str) -> list[str]:
    """Insert users by one statement. Returns their ids."""
    ids = [str(uuid.uuid4()) for _ in names]
    connection.execute(
        f"INSERT INTO users {COLUMNS} SELECT id, name, name, name, name, ''"
        " FROM unnest(%s::uuid[], %s::text[]) AS given(id, name)",
        [ids, list(names)],
    )
    return ids
