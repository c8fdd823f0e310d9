"""Ids, words and cursors of a database, for requests."""

from dataclasses import dataclass

import psycopg

from app.models import SORT_KEYS
from app.schemas import ListQuery
from app.search import cursors
from app.search.query_builder import UserQuery

ORDERS = tuple(f"{sign}{sort}" for sort in SORT_KEYS for sign in ("", "-"))
_DEEP = 0.7
_MANY = 500


@dataclass(frozen=True)
class Sample:
    """`deep` has a cursor after 70 % of the rows for each (sort, trash)."""

    ids: list[str]
    rare_words: list[str]
    usernames: list[str]
    deep: dict[tuple[str, bool], str]


def draw(url: str) -> Sample:
    """The same sample for the same rows."""
    with psycopg.connect(url, options="-c timezone=UTC", autocommit=True) as connection:
        chosen = connection.execute(
            "SELECT id::text, username FROM users WHERE deleted_at IS NULL ORDER BY md5(id::text) LIMIT %s", [_MANY]
        ).fetchall()
        rare = connection.execute(
            "SELECT split_part(name, ' ', 3) FROM users"
            r" WHERE deleted_at IS NULL AND name ~ '^\w+ \w+ [A-Z][a-z]{7}$' ORDER BY md5(id::text) LIMIT %s",
            [_MANY],
        ).fetchall()
        halves = (False, True)
        deep = {(sort, trash): _deep_cursor(connection, sort, trash=trash) for sort in ORDERS for trash in halves}
    return Sample([row[0] for row in chosen], [row[0] for row in rare], [row[1] for row in chosen], deep)


def _deep_cursor(connection: psycopg.Connection, sort: str, *, trash: bool) -> str:
    """The cursor after 70 % of the list. It is computed, because reading all pages takes minutes."""
    query = UserQuery(ListQuery(sort=sort, deleted=trash))
    shown = query.sort_column
    if SORT_KEYS[query.sort] in ("created_at", "updated_at"):
        shown = f"to_char({query.sort_column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USOF')"
    total = connection.execute(f"SELECT count(*) FROM users WHERE {query.partition}").fetchone()[0]
    row = connection.execute(
        f"SELECT {shown}, id::text FROM users WHERE {query.partition} {query.order_by(query.sort_column)}"
        f" OFFSET {int(total * _DEEP)} LIMIT 1"
    ).fetchone()
    return cursors.encode(query.cursor_kind, cursors.Keyset(*row))
