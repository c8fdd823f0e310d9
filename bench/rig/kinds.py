"""The kinds of requests whose growth is measured."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from rig.generated_users import GeneratedUsers
from rig.sample import ORDERS, Sample

PROMISED = ("get", "list", "deep", "search", "filter")
"""The groups whose median must not grow. Combinations have a bound instead (--grid)."""

_Path = Callable[[Sample, GeneratedUsers, random.Random], str]


@dataclass(frozen=True)
class Kind:
    """One row of the table."""

    group: str
    name: str
    path: _Path
    prefer: str | None = None


def kinds() -> list[Kind]:
    """All kinds, in the order of the table."""
    return [
        Kind("floor", "no database: /api/health/live", lambda *_: "/api/health/live"),
        Kind("get", "one user, any id", lambda sample, _, chance: f"/api/users/{chance.choice(sample.ids)}"),
        *(Kind("list", f"first page by {sort}", _users(sort=sort)) for sort in ORDERS),
        *(Kind("deep", f"page at 70 % by {sort}", _deep(sort)) for sort in ORDERS),
        *_searches(),
        *_filters(),
        *_combinations(),
        Kind("count", "estimated, of all", _users(limit="1"), "count=estimated"),
        Kind("count", "estimated, of a search", _users(limit="1", q="maria"), "count=estimated"),
        Kind("count", "exact, of all", _users(limit="1"), "count=exact"),
        Kind("count", "exact, of a search", _users(limit="1", q="maria"), "count=exact"),
    ]


def _searches() -> list[Kind]:
    return [
        Kind("search", "rare word", lambda sample, *_: _path(q=sample.rare_words[0])),
        Kind("search", "any rare word", lambda sample, _, chance: _path(q=chance.choice(sample.rare_words))),
        Kind("search", "common word", _users(q="maria")),
        Kind("search", "common word, by name", _users(q="maria", sort="name")),
        Kind("search", "word of most emails", _users(q="example")),
        Kind("search", "one letter", _users(q="s")),
        Kind("search", "three letters", _users(q="mar")),
        Kind("search", "Han character", _users(q="王")),
        Kind("search", "two common words", _users(q="maria silva")),
        Kind("search", "two words, never together", _users(q="maria anna")),
        Kind("search", "no such word", _users(q="zzzz")),
        Kind(
            "search",
            "exact email or username",
            lambda sample, _, chance: _path(username=chance.choice(sample.usernames)),
        ),
    ]


def _filters() -> list[Kind]:
    return [
        Kind("filter", "rare role", _users(role="admin")),
        Kind("filter", "rare role, by name", _users(role="admin", sort="name")),
        Kind("filter", "common role", _users(role="member")),
        Kind("filter", "inactive", _users(active="false")),
        Kind("filter", "rare attribute", _users(**{"attributes.n": "77"})),
        Kind("filter", "common attribute", _users(**{"attributes.plan": "pro"})),
        Kind(
            "filter", "attribute of the old, newest first", _users(**{"attributes.legacy": "true"}, sort="-created_at")
        ),
        Kind("filter", "created in 1 % of the time", _range(0.5, 0.51)),
        Kind("filter", "created in 1 % of the time, by name", _range(0.5, 0.51, sort="name")),
        Kind("filter", "created in 50 % of the time, by email", _range(0.25, 0.75, sort="email")),
    ]


def _combinations() -> list[Kind]:
    return [
        Kind("all", "common word, role, by name", _users(q="maria", role="editor", sort="name")),
        Kind("all", "letter, inactive, last updated first", _users(q="s", active="false", sort="-updated_at")),
        Kind("all", "letters, attribute, by email", _users(q="mar", **{"attributes.plan": "pro"}, sort="email")),
        Kind("all", "common word, 10 % of the time, by -name", _range(0.5, 0.6, q="maria", sort="-name")),
        Kind("all", "rare word, role, by username", lambda sample, *_: _path(q=sample.rare_words[1], role="member")),
    ]


def _users(**parameters: str) -> _Path:
    return lambda *_: _path(**parameters)


def _deep(sort: str) -> _Path:
    return lambda sample, *_: _path(sort=sort, cursor=sample.deep[sort, False])


def _range(start: float, end: float, **parameters: str) -> _Path:
    def path(_sample: Sample, users: GeneratedUsers, _chance: random.Random) -> str:
        after, before = (users.created(share).isoformat() for share in (start, end))
        return _path(created_after=after, created_before=before, **parameters)

    return path


def _path(**parameters: str) -> str:
    return f"/api/users?{urlencode(parameters)}"
