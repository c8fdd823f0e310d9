"""The table of docs/reliability.md: for each fault what was lost, and how long the service was unavailable."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tests.journal.operations import FaultRecord, Journal, Operation
from tests.journal.state_rules import SLOW_S, is_unavailable
from tests.journal.timeline import Violation
from tests.support.results import day_and_commit

COUNTED = {"lost": ("missing",), "doubled": ("doubled",), "stale": ("stale", "ended")}
SERVICES = {"tokens": ("token",), "sessions and console": ("session", "console")}


def table(journal: Journal, violations: Sequence[Violation], seed: str) -> str:
    """One row for each kind of fault, with what ran above it."""
    faults = sorted(journal.faults, key=lambda fault: fault.began)
    unavailable = {name: unavailable_seconds(journal.operations, faults, kinds) for name, kinds in SERVICES.items()}
    rows = []
    for name in sorted({fault.name for fault in faults}):
        indices = [index for index, fault in enumerate(faults) if fault.name == name]
        times = [max(unavailable[service][index] for index in indices) for service in SERVICES]
        lasts = max(faults[index].ended - faults[index].began for index in indices)
        counts = [_count(violations, faults, indices, rules) for rules in COUNTED.values()]
        cells = [name, len(indices), *counts, f"{lasts:.1f}", *(f"{seconds:.1f}" for seconds in times)]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    away = [f"unavailable to {name}, s" for name in SERVICES]
    columns = ["fault", "times", *COUNTED, "longest fault, s", *away]
    return "\n".join(
        [
            _summary(journal, violations, seed),
            "",
            f"| {' | '.join(columns)} |",
            "|---|" + "---:|" * (len(columns) - 1),
            *rows,
        ]
    )


def unavailable_seconds(
    operations: Iterable[Operation], faults: Sequence[FaultRecord], interfaces: Sequence[str]
) -> list[float]:
    """For each fault, how long no request of these interfaces succeeded on the host on which that took longest."""
    totals = []
    ordered = sorted((one for one in operations if one.interface in interfaces), key=lambda one: one.began)
    for fault, until in zip(faults, [*(fault.began for fault in faults[1:]), float("inf")], strict=True):
        first, last = (bisect_left(ordered, time, key=lambda one: one.began) for time in (fault.began, until))
        by_end = sorted(ordered[first:last], key=lambda one: one.ended)
        mine = [replace(one, ended=min(one.ended, until)) for one in by_end]
        totals.append(max(_without_success([one for one in mine if one.host == host]) for host in (0, 1)))
    return totals


def _without_success(operations: list[Operation]) -> float:
    """The seconds from each request that failed, or was slow, to the next answer of one that succeeded.

    operations: in the order of their ends.
    """
    total, failed_at, answered_at = 0.0, None, operations[0].began if operations else 0.0
    for one in operations:
        if is_unavailable(one):
            failed_at = one.began if failed_at is None else failed_at
        elif one.outcome != "unknown":
            # Another worker may have answered while the request that failed was waiting.
            since = answered_at if failed_at is None else max(failed_at, answered_at)
            if failed_at is not None or one.ended - since > SLOW_S:
                total += max(0.0, one.ended - since)
            failed_at, answered_at = None, one.ended
    return total


def _count(
    violations: Iterable[Violation], faults: Sequence[FaultRecord], indices: Sequence[int], rules: Sequence[str]
) -> int:
    """The violations of these rules during these faults, and after them until the next fault."""
    found: dict[int, int] = defaultdict(int)
    for violation in violations:
        if violation.rule in rules:
            before = [index for index, fault in enumerate(faults) if fault.began <= violation.at]
            found[before[-1] if before else 0] += 1
    return sum(found[index] for index in indices)


def _summary(journal: Journal, violations: Sequence[Violation], seed: str) -> str:
    minutes = (max(one.ended for one in journal.operations) - min(one.began for one in journal.operations)) / 60
    return (
        f"{day_and_commit()}, seed {seed}, {minutes:.0f} minutes:"
        f" {len(journal.operations):,} operations, {len(journal.faults)} faults, {len(violations)} violations."
    )
