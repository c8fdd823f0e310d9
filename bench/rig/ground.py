"""One database with the tables of all contenders, copied for each run, and the random values for requests."""

import hashlib
import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from rig import DATA
from rig.contenders import REFERENCES
from rig.driving import Draws
from rig.generated_users import NOW, GeneratedUsers
from rig.subjects import Servers, database

COMMON_WORDS = (
    *("maria", "pierre", "mohammed", "fatima", "yuki", "olga", "robert", "linda", "sofia", "lucas", "hassan", "giulia"),
    *("ingrid", "thabo", "martin", "bernard", "dubois", "smith", "williams", "brown", "rossi", "ferrari", "silva"),
    *("santos", "kowalski", "tanaka", "nguyen", "kumar", "hansen", "virtanen"),
)
"""Names that a substring search and a prefix search find in the same users: see rig.agreement."""

_TABLES = REFERENCES / "tables.sql"
_RARE = 20_000
_FEW = 1_000
"""The number of users that every cache can hold."""
_USERNAMES = 300_000
"""More than all turns together request."""
_SKEW = 0.99
"""Zipf's exponent, as in YCSB: of a million users the first gets 7 % of the requests, the first thousand half."""


@dataclass(frozen=True)
class Ground:
    """A database, and the draws by name. `ids` are all users that requests read, the most frequent first."""

    url: str
    ids: list[str]
    rare_words: list[str]
    usernames: list[str]
    admin_id: str

    def ids_from(self, first: int, count: int) -> Draws:
        """`count` ids, after the `first` ids of the file."""
        return Draws(_file("ids"), first * (len(self.ids[0]) + 1), count)

    def words(self, name: str, turn: int, turns: int) -> Draws:
        """Words or a few ids for one of `turns` turns: all, with another first one; or other usernames."""
        if name == "usernames":
            count = len(self.usernames) // turns
            offset = sum(len(word) + 1 for word in self.usernames[: turn * count])
            return Draws(_file(name), offset, count)
        count = len(dict(self._lists())[name])
        return Draws(_file(name), 0, count, turn * count // turns)

    def write_draws(self, ids: int) -> None:
        """Write the files of draws; `ids` are zipf-like."""
        chance = random.Random(1)
        weights = itertools.accumulate((rank + 1) ** -_SKEW for rank in range(len(self.ids)))
        drawn = chance.choices(self.ids, cum_weights=list(weights), k=ids)
        for name, lines in (("ids", drawn), *self._lists()):
            _file(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _lists(self) -> Iterator[tuple[str, Sequence[str]]]:
        """The lists from which a draw takes a line."""
        yield "few ids", self.ids[:_FEW]
        yield "common words", COMMON_WORDS
        yield "rare words", self.rare_words
        yield "usernames", self.usernames


@contextmanager
def ground(running: Servers, users: int, *, keep: bool) -> Iterator[Ground]:
    """Copy the seeded database, add the tables of the references, and drop the copy at the end.

    `keep`: do not drop the copy: the next run with `keep` uses it, with all users that were written.
    """
    name = f"speed_{users}"
    seeded = urlsplit(database(running.postgres, GeneratedUsers(users)))
    url = seeded._replace(path=f"/{name}").geturl()
    with psycopg.connect(running.postgres.url, autocommit=True) as connection:
        wanted = (
            f"{_comment(connection, seeded.path[1:])}, tables {hashlib.sha256(_TABLES.read_bytes()).hexdigest()[:16]}"
        )
        if not keep or _comment(connection, name) != wanted:
            _copy(connection, seeded.path[1:], name)
            _add_tables(url)
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(wanted))
            )
    try:
        yield _drawn(url)
    finally:
        if not keep:
            with psycopg.connect(running.postgres.url, autocommit=True) as connection:
                _drop(connection, name)


def _comment(connection: psycopg.Connection, name: str) -> str | None:
    found = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    return found[0] if found else None


def _copy(connection: psycopg.Connection, seeded: str, name: str) -> None:
    _drop(connection, name)
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    connection.execute(copy.format(sql.Identifier(name), sql.Identifier(seeded)))


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _add_tables(url: str) -> None:
    sys.stderr.write("Creating the tables of the references\n")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLES.read_bytes())
        for name in ("plain_users", "searchable_users"):
            connection.execute(f"VACUUM ANALYZE {name}")
        connection.execute("CHECKPOINT")


def _drawn(url: str) -> Ground:
    with psycopg.connect(url, autocommit=True) as connection:
        # By digest, so that the frequency of a user does not depend on its time of creation.
        ids = connection.execute(
            "SELECT id::text FROM plain_users WHERE created_at <= %s ORDER BY md5(id::text)", [NOW]
        ).fetchall()
        rare = connection.execute(
            "SELECT DISTINCT lower(split_part(name, ' ', 3)) FROM plain_users"
            r" WHERE name ~ '^\w+ \w+ [A-Z][a-z]{7}$'"
            # A substring search would also find these inside a word, a prefix search would not.
            r" EXCEPT SELECT substring(username FROM '^u\d+([a-z]{8})') FROM plain_users LIMIT %s",
            [_RARE],
        ).fetchall()
        usernames = connection.execute(
            r"SELECT username FROM plain_users WHERE username ~ '^u\d+[a-z]{8}$' ORDER BY md5(username) LIMIT %s",
            [_USERNAMES],
        ).fetchall()
        admin = connection.execute(
            "SELECT id::text FROM plain_users WHERE role = 'admin' AND active LIMIT 1"
        ).fetchone()
    return Ground(url, *([row[0] for row in rows] for rows in (ids, rare, usernames)), admin[0])


def _file(name: str) -> Path:
    return DATA / f"{name.replace(' ', '-')}.txt"
