"""Schedules of faults: made at random from a seed, run, shrunk, and printed as code."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.journal import faults, host_faults, server_faults  # noqa: F401 - they enter their faults into FAULTS
from tests.journal.cluster import Cluster
from tests.journal.faults import FAULTS
from tests.journal.operations import FaultRecord, Journal
from tests.journal.probe import Probe

PATIENCE = 3
"""How many times the promised time is waited for the service to return. Then the run goes on without it."""


@dataclass(frozen=True)
class Step:
    """A fault that begins `pause_s` after the service has returned from the one before.

    It lasts for `lasts_s`, or as long as the fault itself takes. seed: of the choices that the fault makes.
    """

    fault: str
    host: int
    pause_s: float
    lasts_s: float
    seed: int


def random_schedule(seed: str, seconds: float, names: Sequence[str]) -> list[Step]:
    """Faults for at least `seconds`. Each of `names` comes once before any comes again."""
    random, steps, left = Random(f"schedule {seed}"), list[Step](), list[str]()  # noqa: S311 - nothing is secret
    while sum(step.pause_s + step.lasts_s for step in steps) < seconds:
        left = left or random.sample(list(names), len(names))
        lasts_s = random.choice([0.1, random.uniform(0.2, 1), random.uniform(1, 4)])
        pause_s, own_seed = random.uniform(0.3, 2), random.randrange(10**6)
        steps.append(Step(left.pop(), random.randrange(2), round(pause_s, 2), round(lasts_s, 2), own_seed))
    return steps


def inject(cluster: Cluster, journal: Journal, steps: Sequence[Step], seconds: float) -> None:
    """Run the steps one after the other, until `seconds` have passed, and enter the faults into the journal."""
    probe, deadline = Probe(cluster), time.monotonic() + seconds
    for step in steps:
        if time.monotonic() > deadline:
            return
        time.sleep(step.pause_s)
        fault, began = FAULTS[step.fault], time.monotonic()
        with fault.breaks(cluster, cluster.hosts[step.host], Random(step.seed)):  # noqa: S311 - as above
            time.sleep(step.lasts_s)
        ended = time.monotonic()
        returned = probe.wait(PATIENCE * fault.bound_s)
        target = f"host {step.host}" if fault.on_host else "all hosts"
        record = FaultRecord(fault.name, target, began, ended, returned, fault.bound_s, fault.loses_sessions)
        journal.faults.append(record)


def shrink(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool], max_runs: int) -> list[Step]:
    """Leave out steps, the larger parts first, while the rest still fails (delta debugging). Bounded by `max_runs`."""
    best, size, runs = list(steps), max(1, len(steps) // 2), 0
    while runs < max_runs:
        for begin in range(0, len(best), size):
            rest = best[:begin] + best[begin + size :]
            runs += 1
            if rest and fails(rest):
                best = rest
                break
            if runs >= max_runs:
                break
        else:
            if size == 1:
                break
            size //= 2
    return best


def as_code(steps: Sequence[Step]) -> str:
    """The schedule as Python, to keep it as a test."""
    return "[\n" + "".join(f"    {step!r},\n" for step in steps) + "]"
