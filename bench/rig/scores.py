"""The results of bench/speed.py: tables, goals, comparisons, and the plot."""

from collections.abc import Iterator
from dataclasses import dataclass

from rig import signing_in
from rig.contenders import NAIVE, Contender
from rig.driving import Turn
from rig.plot import Bar, Group
from rig.racing import Results
from rig.report import table
from rig.signing_in import SigningIn
from rig.workloads import Workload

_MANY_TIMES = 100
"""Ratios from this value on are written as whole numbers with commas."""
_MEMORY = 1.3
"""The largest allowed memory of ours, as a multiple of the exercise's code."""
_TITLES = ("requests/s", "CPU µs", "database CPU µs", "p50 ms", "p99 ms", "ours to it")
_GoalLine = tuple[str, str, float, str, float | None]


@dataclass(frozen=True)
class Scores:
    """All results of one run. Ours is the first contender of each workload.

    hit_ratios: the share of our responses without a transaction of PostgreSQL. memory_mib: at rest.
    """

    results: Results
    hit_ratios: dict[Workload, float]
    memory_mib: dict[Contender, float]
    signing_in: SigningIn | None

    def tables(self) -> str:
        """One table for each workload, then sign-in and memory."""
        tables = [_table(workload, turns) for workload, turns in self.results.items()]
        if self.hit_ratios:
            lines = [(workload.title, f"{100 * ratio:.1f} %") for workload, ratio in self.hit_ratios.items()]
            tables.append(table(("answers without a transaction of PostgreSQL", "of all"), lines))
        if self.signing_in is not None:
            lines = [
                ("ours", self.signing_in.ours_ms, self.signing_in.ours_cpu_ms),
                ("argon2 alone", self.signing_in.argon2_ms, None),
            ]
            tables.append(table(("signing in", "median ms", "CPU ms"), lines))
        if self.memory_mib:
            held = [(kind.title, mib) for kind, mib in self.memory_mib.items()]
            tables.append(table(("memory at rest, PSS, 2 workers", "MiB"), held))
        return "\n\n".join(tables)

    def goals(self) -> str:
        """Each goal, its measured value and verdict; then the missed goals, and the faster contenders."""
        lines = [*self._of_workloads(), *self._of_the_rest()]
        missed = [
            f"{title}: {goal} ({measured:.2f})" for title, goal, measured, verdict, _ in lines if verdict == "FAIL"
        ]
        slower = [
            f"{workload.title}: {kind.title} ({_ours(turns).per_s / turn.per_s:.2f})"
            for workload, turns in self.results.items()
            for kind, turn in turns.items()
            if _ours(turns).per_s < turn.per_s
        ]
        return "\n\n".join(
            (
                table(("workload", "goal", "measured", "", "by CPU"), lines),
                _list("Missed goals", missed),
                _list("Faster than ours (ours to it)", slower),
            )
        )

    def groups(self) -> list[Group]:
        """The bars of the plot."""
        return [
            Group(f"{workload.title}, requests/s", [_bar(kind, turn, _ours(turns)) for kind, turn in turns.items()])
            for workload, turns in self.results.items()
        ]

    def _of_workloads(self) -> Iterator[_GoalLine]:
        for workload, turns in self.results.items():
            ours = _ours(turns)
            for goal in workload.goals:
                other = turns[goal.other]
                ratio = ours.per_s / other.per_s
                yield workload.title, str(goal), ratio, _verdict(met=ratio >= goal.times), other.cpu_us / ours.cpu_us
            if workload.cpu is not None:
                met = ours.cpu_us <= workload.cpu.most_us
                yield workload.title, str(workload.cpu), ours.cpu_us, _verdict(met=met), None

    def _of_the_rest(self) -> Iterator[_GoalLine]:
        if self.signing_in is not None:
            ratio = self.signing_in.ratio
            met = ratio <= signing_in.GOAL
            yield "sign-in", f"{signing_in.GOAL} x argon2 at most", ratio, _verdict(met=met), None
        if NAIVE in self.memory_mib:
            ours = next(mib for kind, mib in self.memory_mib.items() if kind.is_ours)
            share = ours / self.memory_mib[NAIVE]
            yield "memory at rest", f"{_MEMORY} x naive at most", share, _verdict(met=share <= _MEMORY), None


def _ours(turns: dict[Contender, Turn]) -> Turn:
    return next(iter(turns.values()))


def _table(workload: Workload, turns: dict[Contender, Turn]) -> str:
    lines = [
        (
            kind.title,
            round(turn.per_s, 1 if turn.per_s < 100 else None),  # noqa: PLR2004 - two digits say too little
            round(turn.cpu_us),
            round(turn.database_cpu_us),
            turn.p50_ms,
            turn.p99_ms,
            _ours(turns).per_s / turn.per_s,
        )
        for kind, turn in turns.items()
    ]
    lost = [f"{kind.title}: {turn.lost:g}" for kind, turn in turns.items() if turn.lost]
    note = f"\n\nLost connections or responses in a turn: {', '.join(lost)}" if lost else ""
    return table((f"{workload.title} ({workload.connections} connections)", *_TITLES), lines) + note


def _list(title: str, lines: list[str]) -> str:
    return "\n".join([f"{title}:", *(f"- {line}" for line in lines or ["none"])])


def _bar(kind: Contender, turn: Turn, ours: Turn) -> Bar:
    times = ours.per_s / turn.per_s
    ratio = "" if kind.is_ours else f" · ours {times:,.0f} x" if times >= _MANY_TIMES else f" · ours {times:.3g} x"
    return Bar(kind.title, turn.per_s, f"{turn.per_s:,.0f}{ratio}", kind.is_ours)


def _verdict(*, met: bool) -> str:
    return "PASS" if met else "FAIL"
