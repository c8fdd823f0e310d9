"""The workloads of bench/speed.py: requests, contenders and goals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rig.contenders import (
    ASYNCPG,
    FASTIFY,
    FASTIFY_MANY,
    NAIVE,
    NAIVE_MANY,
    OURS,
    OURS_MANY,
    POCKETBASE,
    TEMPLATE,
    Contender,
)

_MIXED = (
    *("create", "one", "one", "one", "one", "page", "one", "one", "one", "one"),
    *("change", "one", "one", "one", "one", "page", "one", "one", "one", "one"),
)
_MANY, _FEW = 32, 8
_SHORT_S = 3


@dataclass(frozen=True)
class Goal:
    """Our requests/s must be at least `times` those of another contender in the same run."""

    times: float
    other: Contender

    def __str__(self) -> str:
        """As in the table of goals."""
        return f"{self.times:.3g} x {self.other.name}"


@dataclass(frozen=True)
class CpuBound:
    """The CPU time of our service for a request is at most `most_us`; `aim_us` is the aim."""

    most_us: int
    aim_us: int

    def __str__(self) -> str:
        """As in the table of goals."""
        return f"{self.most_us} CPU µs at most, aim {self.aim_us}"


@dataclass(frozen=True)
class Workload:
    """`kinds` of requests are sent in turn over `connections`; `draws` names the values that fill them in.

    contenders: ours is the first. warm_up_s: of ours, before the first round. tokens: the number of clients of ours.
    after_start_s: each turn is the first seconds of a service that was just started; 0: the service has run before.
    has_hit_ratio: the share of our responses without a transaction of PostgreSQL is measured, too.
    """

    key: str
    title: str
    kinds: tuple[str, ...]
    draws: str | None
    contenders: Sequence[Contender]
    goals: Sequence[Goal] = ()
    cpu: CpuBound | None = None
    connections: int = _MANY
    warm_up_s: int = _SHORT_S
    tokens: int = 1
    after_start_s: int = 0
    has_hit_ratio: bool = False


_WRITING = (OURS, NAIVE, TEMPLATE, ASYNCPG, FASTIFY)
_ALL = (*_WRITING, POCKETBASE)
# The template has no search; the search of PocketBase uses no index.
_SEARCHING = (OURS, NAIVE, ASYNCPG, FASTIFY)
LONG_WARM_UP_S = 120

WORKLOADS = (
    Workload("one", "GET one user, all in memory", ("one",), "few ids", _ALL, (Goal(15, NAIVE), Goal(2, FASTIFY))),
    Workload(
        "zipf",
        "GET one user, zipf-like",
        ("one",),
        "ids",
        (OURS, NAIVE, FASTIFY, POCKETBASE),
        (Goal(12, NAIVE), Goal(1.5, FASTIFY)),
        warm_up_s=LONG_WARM_UP_S,
        has_hit_ratio=True,
    ),
    Workload(
        "tokens",
        "GET one user, zipf-like, 100 tokens",
        ("one",),
        "ids",
        (OURS, NAIVE, FASTIFY),
        warm_up_s=20,
        tokens=100,
        has_hit_ratio=True,
    ),
    Workload(
        "start",
        "GET one user, zipf-like, first 10 s",
        ("one",),
        "ids",
        (OURS, FASTIFY, POCKETBASE),
        (Goal(0.8, POCKETBASE),),
        after_start_s=10,
    ),
    Workload("page", "GET a page of 50", ("page",), None, _ALL, (Goal(10, NAIVE), Goal(2, FASTIFY))),
    Workload(
        "search",
        "search, first page, common words",
        ("search",),
        "common words",
        _SEARCHING,
        (Goal(30, NAIVE), Goal(4, FASTIFY)),
    ),
    # A search takes the exercise's code almost a second: more connections would only wait.
    Workload(
        "rare",
        "search, first page, rare words",
        ("search",),
        "rare words",
        _SEARCHING,
        (Goal(0.75, FASTIFY),),
        connections=_FEW,
    ),
    Workload(
        "once",
        "search, first page, each word once",
        ("search",),
        "usernames",
        _SEARCHING,
        (Goal(0.5, FASTIFY),),
        CpuBound(430, 250),
        connections=_FEW,
    ),
    Workload(
        "create",
        "POST, durable",
        ("create",),
        None,
        _WRITING,
        (Goal(3, NAIVE), Goal(0.35, FASTIFY)),
        CpuBound(600, 400),
    ),
    Workload(
        "create6",
        "POST, durable, 6 workers",
        ("create",),
        None,
        (OURS_MANY, NAIVE_MANY, FASTIFY_MANY),
        (Goal(3, NAIVE_MANY), Goal(0.35, FASTIFY_MANY)),
    ),
    Workload(
        "mixed", "90 % reads, 10 % writes", _MIXED, "ids", _WRITING, (Goal(6, NAIVE), Goal(1.1, FASTIFY)), warm_up_s=20
    ),
)


def chosen(keys: Sequence[str] | None, against: Sequence[str] | None, longest_warm_up_s: int) -> list[Workload]:
    """The workloads with these keys, with ours and the contenders with these names. None: all."""
    return [
        replace(
            workload,
            contenders=tuple(one for one in workload.contenders if one.is_ours or not against or _name(one) in against),
            goals=tuple(goal for goal in workload.goals if not against or _name(goal.other) in against),
            warm_up_s=min(workload.warm_up_s, longest_warm_up_s),
        )
        for workload in WORKLOADS
        if not keys or workload.key in keys
    ]


def _name(contender: Contender) -> str:
    """The name without the number of workers."""
    return contender.name.partition(" ")[0]


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
