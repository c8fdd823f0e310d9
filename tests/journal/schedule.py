"""Schedules of faults: made at random from a seed, run, shrunk, and printed as code."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.journal import faults, host_faults, server_faults  # noqa: F401 - they enter their faults into FAULTS
from tests.journal.cluster import Cluster
from tests.journal.faults import FAULTS
from tests.journal.operations import FaultRecord, Journal
from tests.journal.probe import Probe

SECONDS = (
    *("web worker killed", "change poller killed", "connections to db cut"),
    *("db crashed", "cache killed", "cache hung"),
)
SECOND_SHARE = 0.2
"""The share of faults during which one of SECONDS happens as well."""
PATIENCE = 3
"""How many times the promised time is waited for the service to return. Then the run goes on without it."""


@dataclass(frozen=True)
class Step:
    """A fault that begins `pause_s` after the service has returned from the one before.

    It lasts for `lasts_s`, or as long as the fault itself takes. seed: of the choices that the fault makes.
    second: another fault inside this one, on the other host if it is for one host; "" for none.
    """

    fault: str
    host: int
    pause_s: float
    lasts_s: float
    seed: int
    second: str = ""


def random_schedule(seed: str, seconds: float, names: Sequence[str]) -> list[Step]:
    """Faults for at least `seconds`. Each of `names` comes once before any comes again."""
    random, steps, left = Random(f"schedule {seed}"), list[Step](), list[str]()  # noqa: S311 - nothing is secret
    while sum(step.pause_s + step.lasts_s for step in steps) < seconds:
        left = left or random.sample(list(names), len(names))
        lasts_s = random.choice([0.1, random.uniform(0.2, 1), random.uniform(1, 4)])
        pause_s, own_seed = random.uniform(0.3, 2), random.randrange(10**6)
        name = left.pop()
        others = [one for one in SECONDS if one in names and _part(one) != _part(name)]
        second = random.choice(others) if others and random.random() < SECOND_SHARE else ""
        steps.append(Step(name, random.randrange(2), round(pause_s, 2), round(lasts_s, 2), own_seed, second))
    return steps


def _part(name: str) -> str:
    """The part of the service that a fault breaks: the first word of its name."""
    return name.partition(" ")[0]


def inject(cluster: Cluster, journal: Journal, steps: Sequence[Step], seconds: float) -> None:
    """Run the steps one after the other, until `seconds` have passed, and enter the faults into the journal."""
    probe, deadline = Probe(cluster), time.monotonic() + seconds
    for step in steps:
        if time.monotonic() > deadline:
            return
        time.sleep(step.pause_s)
        chosen, began = [FAULTS[name] for name in (step.fault, step.second) if name], time.monotonic()
        with contextlib.ExitStack() as stack:
            for fault, host in zip(chosen, (step.host, 1 - step.host), strict=False):
                random = Random(step.seed)  # noqa: S311 - as above
                stack.enter_context(fault.breaks(cluster, cluster.hosts[host], random))
            time.sleep(step.lasts_s)
        ended, bound_s = time.monotonic(), sum(fault.bound_s for fault in chosen)
        returned = probe.wait(PATIENCE * bound_s)
        loses_sessions = any(fault.loses_sessions for fault in chosen)
        record = FaultRecord(*_names(step), began, ended, returned, bound_s, loses_sessions)
        journal.faults.append(record)


def _names(step: Step) -> tuple[str, str]:
    """The name and the target of a step in the journal."""
    target = f"host {step.host}" if FAULTS[step.fault].on_host else "all hosts"
    return ("two faults at once", f"{target}: {step.fault}, {step.second}") if step.second else (step.fault, target)


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
