"""The service on two hosts under random faults: no promise is broken (docs/reliability.md).

`make test-fault MINUTES=30 SEED=7` runs one seed for 30 minutes. MINUTES=0 is the short run: a fixed and a random seed.
"""

import os
import secrets
from pathlib import Path

import pytest

from tests.journal.checker import check
from tests.journal.cluster import running_cluster
from tests.journal.faults import FAULTS
from tests.journal.run import run
from tests.journal.schedule import random_schedule

FIXED_SEED, SHORT_S = 20, 25.0
SECONDS = 60 * float(os.environ.get("MINUTES") or 0) or SHORT_S
# The workers of pytest-xdist inherit the variable, so they collect the same tests.
SEEDS = os.environ.setdefault("JOURNAL_SEEDS", os.environ.get("SEED") or f"{FIXED_SEED} {secrets.randbelow(2**32)}")


@pytest.mark.timeout(3 * SECONDS + 300)
@pytest.mark.parametrize("seed", SEEDS.split())
def test_no_promise_is_broken_by_random_faults(tmp_path: Path, seed: str) -> None:
    with running_cluster(tmp_path) as cluster:
        journal, final = run(cluster, seed, random_schedule(seed, SECONDS, list(FAULTS)))
    journal.write(tmp_path / "journal.jsonl")
    counts = f"{len(journal.operations)} operations, {len(final.history)} entries, {len(journal.faults)} faults"
    violations = check(journal, final)
    assert violations == [], f"{counts}: repeat with SEED={seed}"
    print(f"seed {seed}: {counts}, no violation")  # noqa: T201 - shown by -rP
