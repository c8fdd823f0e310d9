"""The common ground: one database with everybody's tables, copied for each run, and the draws for requests."""

import itertools
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from rig import DATA
from rig.contenders import REFERENCES
from rig.driving import Draws
from rig.people import People
from rig.subjects import Servers, database

COMMON_WORDS = (
    *("maria", "pierre", "mohammed", "fatima", "yuki", "olga", "robert", "linda", "sofia", "lucas", "hassan", "giulia"),
    *("ingrid", "thabo", "martin", "bernard", "dubois", "smith", "williams", "brown", "rossi", "ferrari", "silva"),
    *("santos", "kowalski", "tanaka", "nguyen", "kumar", "hansen", "virtanen"),
)
"""Names that a substring and the beginning of a word find in the same users: see rig.agreement."""

_RARE = 20_000
_USERNAMES = 300_000
"""More than are asked for in all turns together."""
_SKEW = 0.99
"""Zipf's exponent, as in YCSB: of a million users the first gets 7 % of the requests, the first thousand half."""


@dataclass(frozen=True)
class Ground:
    """A database, and the draws by name. `ids` are all users that can be asked for, the most wanted first."""

    url: str
    ids: list[str]
    rare_words: list[str]
    usernames: list[str]
    admin_id: str

    def ids_from(self, first: int, count: int) -> Draws:
        """`count` ids, after the `first` ones of the file."""
        return Draws(_file("ids"), first * (len(self.ids[0]) + 1), count)

    def words(self, name: str, turn: int, turns: int) -> Draws:
        """Words for one of `turns` turns: all, from another one on in each; of usernames others in each."""
        if name == "usernames":
            count = len(self.usernames) // turns
            offset = sum(len(word) + 1 for word in self.usernames[: turn * count])
            return Draws(_file(name), offset, count)
        words = COMMON_WORDS if name == "common words" else self.rare_words
        return Draws(_file(name), 0, len(words), turn * len(words) // turns)

    def write_draws(self, ids: int) -> None:
        """Write the files that draws are taken from, `ids` of them zipf-like."""
        chance = random.Random(1)
        weights = itertools.accumulate((rank + 1) ** -_SKEW for rank in range(len(self.ids)))
        drawn = chance.choices(self.ids, cum_weights=list(weights), k=ids)
        for name, lines in (
            ("ids", drawn),
            ("common words", COMMON_WORDS),
            ("rare words", self.rare_words),
            ("usernames", self.usernames),
        ):
            _file(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@contextmanager
def ground(running: Servers, users: int) -> Iterator[Ground]:
    """Copy the seeded database, add the tables of the references, and drop the copy at the end."""
    name = f"speed_{users}"
    seeded = urlsplit(database(running.postgres, People(users)))
    url = seeded._replace(path=f"/{name}").geturl()
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(running.postgres.url, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(seeded.path[1:])))
    try:
        sys.stderr.write("Making the tables of the references\n")
        yield _laid(url)
    finally:
        with psycopg.connect(running.postgres.url, autocommit=True) as connection:
            connection.execute(drop)


def _laid(url: str) -> Ground:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((REFERENCES / "tables.sql").read_bytes())
        for name in ("plain_users", "searchable_users"):
            connection.execute(f"VACUUM ANALYZE {name}")
        connection.execute("CHECKPOINT")
        # By digest: who is wanted most has nothing to do with age.
        ids = connection.execute("SELECT id::text FROM plain_users ORDER BY md5(id::text)").fetchall()
        rare = connection.execute(
            "SELECT DISTINCT lower(split_part(name, ' ', 3)) FROM plain_users"
            r" WHERE name ~ '^\w+ \w+ [A-Z][a-z]{7}$'"
            # A substring would find these in the middle of a word, too, where the beginning of a word does not.
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
