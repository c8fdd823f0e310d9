"""Schedules of faults: made at random from a seed, run, shrunk, and printed as code."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.journal.cluster import Cluster
from tests.journal.faults import FAULTS
from tests.journal.operations import FaultRecord, Journal


@dataclass(frozen=True)
class Step:
    """A fault that begins `pause_s` after the end of the one before, and lasts for `lasts_s`, or until it is over.

    seed: of the choices that the fault makes.
    """

    fault: str
    host: int
    pause_s: float
    lasts_s: float
    seed: int


def random_schedule(seed: str, seconds: float, names: Sequence[str]) -> list[Step]:
    """Faults for about `seconds`. Each of `names` comes once before any comes again."""
    random, steps, left = Random(f"schedule {seed}"), list[Step](), list[str]()  # noqa: S311 - nothing is secret
    while seconds > 0:
        left = left or random.sample(list(names), len(names))
        lasts_s = round(random.choice([0.1, random.uniform(0.5, 3)]), 2)
        step = Step(left.pop(), random.randrange(2), round(random.uniform(1.5, 3), 2), lasts_s, random.randrange(10**6))
        steps.append(step)
        seconds -= step.pause_s + step.lasts_s
    return steps


def inject(cluster: Cluster, journal: Journal, steps: Sequence[Step]) -> None:
    """Run the steps, and enter the faults into the journal."""
    for step in steps:
        time.sleep(step.pause_s)
        fault = FAULTS[step.fault]
        began = time.monotonic()
        try:
            with fault.breaks(cluster, cluster.hosts[step.host], Random(step.seed)):  # noqa: S311 - as above
                time.sleep(step.lasts_s)
        except AssertionError as error:
            journal.problems.append(f"{step.fault}: {error}")
        target = f"host {step.host}" if fault.on_host else ""
        journal.faults.append(FaultRecord(step.fault, target, began, time.monotonic()))
