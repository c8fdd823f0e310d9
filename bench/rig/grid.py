"""Measures combinations of search, filters, sort and position in the list."""

import itertools
import random
import statistics
import sys
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlencode

from rig.client import Answer, Client
from rig.generated_users import GeneratedUsers
from rig.report import table
from rig.sample import ORDERS, Sample

GOAL_MS = 50
_PAGE = 50
_SHOWN = 10
_ORDER = ("sort", "cursor")
_SLOWEST = ("slowest, one for each search and filter", "median ms", "max ms", f"over {GOAL_MS} ms")

SLOWEST = 200
AGAIN = 8


@dataclass
class Cell:
    """One combination, and the results of its rounds."""

    parameters: dict[str, str]
    deep: bool
    ms: list[float] = field(default_factory=list)
    short: bool = False
    failed: int = 0

    @property
    def path(self) -> str:
        """The path of the request."""
        return f"/api/users?{urlencode(self.parameters)}"

    @property
    def median(self) -> float:
        """The median of its rounds, in ms."""
        return statistics.median(self.ms)

    @property
    def question(self) -> str:
        """Its search and filters as text."""
        return " ".join(f"{key}={value}" for key, value in self.parameters.items() if key not in _ORDER) or "everything"

    @property
    def name(self) -> str:
        """The whole combination as text."""
        return " ".join([self.question, f"sort={self.parameters['sort']}", *(["at 70 %"] if self.deep else [])])

    def note(self, answer: Answer) -> None:
        """Add one round. A page is short if it has fewer users than the limit and a next page."""
        self.ms.append(answer.ms)
        self.failed += answer.status != HTTPStatus.OK
        self.short = answer.status == HTTPStatus.OK and answer.has_next and answer.rows < _PAGE


def cells(users: GeneratedUsers, sample: Sample, wanted: int | None, seed: int) -> list[Cell]:
    """All combinations, or a random sample of `wanted`. One in five is of deleted users."""
    everything = [
        Cell({**search, **chosen, "sort": sort, **trash, **depth}, deep=bool(depth))
        for search, chosen, sort, trash in itertools.product(
            _searches(sample), _filters(users, sample), ORDERS, ({}, {"deleted": "true"})
        )
        for depth in ({}, {"cursor": sample.deep[sort, bool(trash)]})
    ]
    if wanted is None:
        return everything
    chance = random.Random(seed)
    active = [cell for cell in everything if "deleted" not in cell.parameters]
    trashed = [cell for cell in everything if "deleted" in cell.parameters]
    part = wanted // 5
    return chance.sample(active, min(wanted - part, len(active))) + chance.sample(trashed, min(part, len(trashed)))


def run(client: Client, chosen: list[Cell], rounds: int, seed: int) -> None:
    """Send each combination once in each round, in another order, then the slowest again.

    The greatest of thousands of medians of a few times would show other work of the machine.
    """
    chance = random.Random(seed)
    for number in range(1, rounds + 1):
        _ask(client, chance.sample(chosen, len(chosen)), f"Round {number} of {rounds}")
    slowest = sorted(chosen, key=lambda cell: cell.median, reverse=True)[:SLOWEST]
    again = slowest * AGAIN
    _ask(client, chance.sample(again, len(again)), f"The slowest {len(slowest)} again, {AGAIN} times each")


def _ask(client: Client, cells: list[Cell], what: str) -> None:
    sys.stderr.write(f"{what}: {len(cells):,} requests\n")
    for cell in cells:
        cell.note(client.get(cell.path))


def summary(chosen: list[Cell]) -> str:
    """The results over all combinations, and the slowest ones."""
    ordered = sorted(chosen, key=lambda cell: cell.median, reverse=True)
    medians = [cell.median for cell in ordered]
    over = sum(median > GOAL_MS for median in medians)
    figures = [
        ("combinations", len(medians)),
        ("median of their medians, ms", statistics.median(medians)),
        ("99th percentile, ms", medians[len(medians) // 100]),
        ("slowest, ms", medians[0]),
        (f"over {GOAL_MS} ms ({'PASS' if not over else 'FAIL'}: the goal is none)", over),
        ("short pages with a next link", sum(cell.short for cell in chosen)),
        ("answers other than 200", sum(cell.failed for cell in chosen)),
    ]
    return f"{table(('', 'value'), figures)}\n\n{table(_SLOWEST, _slowest(ordered))}"


def _slowest(ordered: list[Cell]) -> list[tuple[object, ...]]:
    """The slowest combination of each search and filter, and how many of its sorts and positions are slow."""
    questions: dict[str, list[Cell]] = {}
    for cell in ordered:
        questions.setdefault(cell.question, []).append(cell)
    return [
        (cells[0].name, cells[0].median, max(cells[0].ms), f"{sum(c.median > GOAL_MS for c in cells)}/{len(cells)}")
        for cells in list(questions.values())[:_SHOWN]
    ]


def _searches(sample: Sample) -> list[dict[str, str]]:
    asked = ("s", "ma", "mar", "zoe", "maria", "example", "com", sample.rare_words[0], "zzzz", "王", "王 example")
    together = ("maria silva", "maria anna", f"jean {sample.rare_words[1][:4]}", "s m c", "test user")
    return [{}, *({"q": text} for text in (*asked, *together))]


def _filters(users: GeneratedUsers, sample: Sample) -> list[dict[str, str]]:
    """Single filters, then some that match together and some that contradict each other."""
    old, middle, new, newest = (users.created(share).isoformat() for share in (0.02, 0.4, 0.9, 0.999))
    legacy, pro = {"attributes.legacy": "true"}, {"attributes.plan": "pro"}
    cohort, rare = {"attributes.cohort": "3"}, {"attributes.n": "77"}
    roles = [{"role": role} for role in ("admin", "editor", "viewer", "member")]
    alone = [*roles, {"active": "false"}, {"active": "true"}, legacy, pro, cohort, rare]
    times = [{"created_before": old}, {"created_before": middle}, {"created_after": new}, {"created_after": newest}]
    return [
        {}, *alone, *times, {"username": sample.usernames[0]},
        {"role": "viewer", "active": "false", **legacy},
        {"role": "member", "active": "true", "attributes.plan": "free"},
        {"role": "editor", "created_after": middle, **pro},
        {**legacy, "created_after": new},
        {**cohort, "created_before": old},
        {"role": "editor", **legacy, "created_after": newest},
        {"created_after": new, "created_before": middle},
    ]  # fmt: skip
