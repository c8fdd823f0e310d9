"""What the race and its companions come to: tables, goals and the plot."""

from dataclasses import dataclass

from rig import signing_in
from rig.contenders import NAIVE, OURS, Contender
from rig.driving import Turn
from rig.plot import Bar, Group
from rig.racing import Results
from rig.report import table
from rig.signing_in import SigningIn
from rig.workloads import Workload

_MANY_TIMES = 100
"""From here on a ratio is written in whole numbers, with commas."""
_TITLES = ("requests/s", "CPU µs", "database CPU µs", "p50 ms", "p99 ms", "ours to it")


@dataclass(frozen=True)
class Scores:
    """All that was measured in one run; `memory_mib` at rest."""

    results: Results
    memory_mib: dict[Contender, float]
    signing_in: SigningIn

    def tables(self) -> str:
        """One for each workload, then signing in and memory."""
        raced = [_table(workload, turns) for workload, turns in self.results.items()]
        return "\n\n".join([*raced, self._signing_in(), self._memory()])

    def goals(self) -> str:
        """Each goal, what was measured, and whether it is met."""
        lines = [
            (workload.title, str(goal), ratio, _verdict(met=ratio >= goal.times), other.cpu_us / turns[OURS].cpu_us)
            for workload, turns in self.results.items()
            for goal in workload.goals
            for other in [turns[goal.other]]
            for ratio in [turns[OURS].per_s / other.per_s]
        ]
        ratio = self.signing_in.ratio
        lines.append(
            ("sign-in", f"{signing_in.GOAL} x argon2 at most", ratio, _verdict(met=ratio <= signing_in.GOAL), None)
        )
        share = self.memory_mib[OURS] / self.memory_mib[NAIVE]
        lines.append(("memory at rest", "1 x naive at most", share, _verdict(met=share <= 1), None))
        return table(("workload", "goal", "measured", "", "by CPU"), lines)

    def groups(self) -> list[Group]:
        """The bars of the plot."""
        return [
            Group(f"{workload.title}, requests/s", [_bar(kind, turn, turns[OURS]) for kind, turn in turns.items()])
            for workload, turns in self.results.items()
        ]

    def _signing_in(self) -> str:
        found = self.signing_in
        lines = [("ours", found.ours_ms, found.ours_cpu_ms), ("argon2 alone", found.argon2_ms, None)]
        return table(("signing in", "median ms", "CPU ms"), lines)

    def _memory(self) -> str:
        return table(
            ("memory at rest, PSS, 2 workers", "MiB"), [(kind.title, mib) for kind, mib in self.memory_mib.items()]
        )


def _table(workload: Workload, turns: dict[Contender, Turn]) -> str:
    ours = turns[OURS]
    lines = [
        (
            kind.title,
            round(turn.per_s, 1 if turn.per_s < 100 else None),  # noqa: PLR2004 - two digits say too little
            round(turn.cpu_us),
            round(turn.database_cpu_us),
            turn.p50_ms,
            turn.p99_ms,
            ours.per_s / turn.per_s,
        )
        for kind, turn in turns.items()
    ]
    lost = [f"{kind.title}: {turn.lost:g}" for kind, turn in turns.items() if turn.lost]
    note = f"\n\nLost connections or answers in a turn: {', '.join(lost)}" if lost else ""
    return table((f"{workload.title} ({workload.connections} connections)", *_TITLES), lines) + note


def _bar(kind: Contender, turn: Turn, ours: Turn) -> Bar:
    times = ours.per_s / turn.per_s
    ratio = "" if kind is OURS else f" · ours {times:,.0f} x" if times >= _MANY_TIMES else f" · ours {times:.3g} x"
    return Bar(kind.title, turn.per_s, f"{turn.per_s:,.0f}{ratio}", kind is OURS)


def _verdict(*, met: bool) -> str:
    return "PASS" if met else "FAIL"
