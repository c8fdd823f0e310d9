"""The workloads of bench/speed.py: what is asked, of whom, and the goals."""

from collections.abc import Sequence
from dataclasses import dataclass

from rig.contenders import ASYNCPG, BARE, FASTIFY, NAIVE, OURS, TEMPLATE, Contender

_MIXED = (
    *("create", "one", "one", "one", "one", "page", "one", "one", "one", "one"),
    *("change", "one", "one", "one", "one", "page", "one", "one", "one", "one"),
)
_MANY, _FEW = 32, 8


@dataclass(frozen=True)
class Goal:
    """Our requests/s are to be `times` those of another, in the same run."""

    times: float
    other: Contender

    def __str__(self) -> str:
        """As the table of goals says it."""
        return f"{self.times:.3g} x {self.other.name}"


@dataclass(frozen=True)
class Workload:
    """`kinds` are asked in turn over `connections`; `draws` names what they are filled in with."""

    key: str
    title: str
    kinds: tuple[str, ...]
    draws: str | None
    contenders: Sequence[Contender]
    goals: Sequence[Goal]
    connections: int = _MANY


_ALL = (OURS, NAIVE, TEMPLATE, ASYNCPG, FASTIFY)
# The template has no search.
_SEARCHING = (OURS, NAIVE, ASYNCPG, FASTIFY)

WORKLOADS = (
    Workload(
        "one",
        "GET one user, zipf-like",
        ("one",),
        "ids",
        (*_ALL, BARE),
        (Goal(12, NAIVE), Goal(2, FASTIFY), Goal(2 / 3, BARE)),
    ),
    Workload("page", "GET a page of 50", ("page",), None, _ALL, (Goal(5, NAIVE), Goal(1.2, FASTIFY))),
    Workload(
        "search",
        "search, first page, common words",
        ("search",),
        "common words",
        _SEARCHING,
        (Goal(5, NAIVE), Goal(1.2, FASTIFY)),
    ),
    Workload(
        "rare",
        "search, first page, rare words",
        ("search",),
        "rare words",
        _SEARCHING,
        (Goal(5, NAIVE), Goal(1.2, FASTIFY)),
        # One takes the exercise's code most of a second: more at once would only wait.
        _FEW,
    ),
    Workload("once", "search, first page, each word once", ("search",), "usernames", _SEARCHING, (), _FEW),
    Workload("create", "POST, durable", ("create",), None, _ALL, (Goal(3, NAIVE),)),
    Workload("mixed", "90 % reads, 10 % writes", _MIXED, "ids", _ALL, (Goal(6, NAIVE), Goal(1.2, FASTIFY))),
)


def request(contender: Contender, kind: str) -> tuple[str, str, str]:
    """Method, path and body of one kind of request, as load.lua fills them in."""
    item = f"{contender.items}/@line"
    separator = "&" if "?" in contender.page else "?"
    return {
        "one": ("GET", item, ""),
        "page": ("GET", contender.page, ""),
        "search": ("GET", f"{contender.page}{separator}q=@line", ""),
        "create": (
            "POST",
            contender.creates,
            '{"username": "@new", "email": "@new@example.com", "name": "Some One"}',
        ),
        "change": ("PATCH", item, '{"name": "Some One @new"}'),
    }[kind]
