"""The service on two hosts under random faults: no promise is broken (docs/reliability.md).

`make test-fault MINUTES=30 SEED=7` runs one seed for 30 minutes. MINUTES=0 is the short run: a fixed and a random seed.
FAULTS="db killed,db hung" limits the faults.
"""

import functools
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.journal import network, small_disk, wall_clock
from tests.journal.checker import check
from tests.journal.cluster import Cluster, running_cluster
from tests.journal.operations import Journal, write_tables
from tests.journal.report import table
from tests.journal.run import run
from tests.journal.schedule import FAULTS, Step, as_code, random_schedule, shrink
from tests.journal.timeline import Violation
from tests.support.results import write_results

FIXED_SEED, SHORT_S = 20, 25.0
MINUTES = float(os.environ.get("MINUTES") or 0)
SECONDS = 60 * MINUTES or SHORT_S
SHRINK_RUNS, SUSPECTS = 8, 6
SHRINK_RUN_S = 300
DISK_MB = 300
DISK_MB_PER_MINUTE = 30
# The workers of pytest-xdist inherit the variable, so they collect the same tests.
SEEDS = os.environ.setdefault("JOURNAL_SEEDS", os.environ.get("SEED") or f"{FIXED_SEED} {secrets.randbelow(2**32)}")


@pytest.mark.timeout(3 * SECONDS + 300 + (SHRINK_RUNS * SHRINK_RUN_S if MINUTES else 0))
@pytest.mark.parametrize("seed", SEEDS.split()[: 1 if MINUTES else None])
def test_no_promise_is_broken_by_random_faults(tmp_path: Path, seed: str) -> None:
    print(f"\nseed {seed}; repeat with: make test-fault MINUTES={MINUTES:g} SEED={seed}")  # noqa: T201 - shown by -s
    steps, journal, violations = run_schedule(tmp_path / "first", seed, None)
    results = table(journal, violations, seed)
    print(results, *violations, sep="\n")  # noqa: T201 - as above
    if MINUTES and "FAULTS" not in os.environ:
        write_results("table of faults", results)
    if violations and MINUTES:
        steps = shrink(suspects(steps, journal, violations), functools.partial(fails, tmp_path, seed), SHRINK_RUNS)
    assert violations == [], f"the violations are in {tmp_path}; a schedule to keep as a test:\n{as_code(steps)}"


def run_schedule(
    folder: Path, seed: str, steps: Sequence[Step] | None
) -> tuple[Sequence[Step], Journal, list[Violation]]:
    """Run a schedule, or one made by the seed. Returns the steps that were run."""
    folder.mkdir()
    with running_cluster(folder, int(DISK_MB + DISK_MB_PER_MINUTE * MINUTES)) as cluster:
        steps = random_schedule(seed, SECONDS, fault_names(cluster)) if steps is None else steps
        journal, final = run(cluster, seed, steps, SECONDS)
    journal.write(folder / "journal.jsonl")
    write_tables(final, folder / "tables.json")
    violations = check(journal, final)
    (folder / "violations.txt").write_text("".join(f"{violation}\n" for violation in violations))
    return steps[: len(journal.faults)], journal, violations


def suspects(steps: Sequence[Step], journal: Journal, violations: Sequence[Violation]) -> Sequence[Step]:
    """The last steps before the first violation; the first steps, if its time is not known."""
    first = min(violation.at for violation in violations)
    count = sum(fault.began <= first for fault in journal.faults)
    return steps[max(0, count - SUSPECTS) : count] or steps[:SUSPECTS]


def fails(folder: Path, seed: str, steps: Sequence[Step]) -> bool:
    """Whether this schedule breaks a promise as well."""
    number = len(list(folder.iterdir()))
    return bool(run_schedule(folder / f"shrunk-{number}", seed, steps)[2])


def fault_names(cluster: Cluster) -> list[str]:
    """The faults that are possible on this machine, or those of the variable FAULTS. Prints what is left out."""
    missing = {
        network.MISSING: cluster.hosts[0].network.is_separate,
        small_disk.MISSING: FAULTS["disk of db full"].is_possible(cluster),
        wall_clock.MISSING: cluster.hosts[1].clock is not None,
    }
    for reason, is_there in missing.items():
        if not is_there:
            print(f"left out: {reason}")  # noqa: T201 - shown by -s
    chosen = [name for name in os.environ.get("FAULTS", "").split(",") if name]
    return [name for name in chosen or FAULTS if FAULTS[name].is_possible(cluster)]
