"""Measures whether requests become slower when the table grows from 10,000 to 10,000,000 users, in one interleaved run.

    python bench/growth.py            each kind of request, small and large, and the ratio
    python bench/growth.py --grid     every combination of search, filters and sort, on 1,000,000 users

Both services have CACHE_TTL_S=0, so that PostgreSQL is measured, not the cache. Databases are seeded only once.
"""

import argparse
import random
import statistics
import sys
from collections import defaultdict
from http import HTTPStatus
from typing import Any

from rig import grid, kinds
from rig.client import Client
from rig.report import conditions, table
from rig.sample import Sample, draw
from rig.subjects import Subject, servers, subjects

GOAL = 1.36
_TITLES = ("request", "median ms, small", "median ms, large", "ratio", "p95 large", "users")
_SUMMARY = ("kind", *_TITLES[1:4], "goal", f"lines over {GOAL}", "worst line")
_WARM_UP = 10
_Times = dict[tuple[kinds.Kind, int], list[float]]


def main() -> None:
    """Parse the command line, measure, and print the table."""
    options = _completed(_parse())
    sizes = [options.large] if options.grid else [options.small, options.large]
    with servers(options.postgres, options.shared_buffers) as running, subjects(running, sizes) as found:
        facts = (
            f"PostgreSQL {running.version()}",
            f"shared_buffers={options.shared_buffers}",
            "CACHE_TTL_S=0",
            "users: " + " and ".join(f"{size:,}" for size in sizes),
        )
        print(conditions(*facts), flush=True)
        samples = [draw(subject.database_url) for subject in found]
        if options.grid:
            _grid(options, found[0], samples[0])
        else:
            _growth(options, found, samples)
        print(conditions("at the end"))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument("--shared-buffers", help="memory of PostgreSQL (default: 11GB; with --grid: 1GB)")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, help="users (default: 10,000,000; with --grid: 1,000,000)")
    parser.add_argument("--rounds", type=int, help="requests of each kind (default: 100; with --grid: 3)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the order of requests and of the sample")
    parser.add_argument("--grid", action="store_true", help="measure combinations instead of growth")
    parser.add_argument("--sample", type=int, default=6_000, help="number of combinations (default: 6000)")
    parser.add_argument("--all", action="store_true", help="measure all combinations")
    return parser.parse_args()


def _completed(options: argparse.Namespace) -> argparse.Namespace:
    """The options with their defaults. The memory is a third of that of a server for such a table."""
    options.large = options.large or (1_000_000 if options.grid else 10_000_000)
    options.shared_buffers = options.shared_buffers or ("1GB" if options.grid else "11GB")
    options.rounds = options.rounds or (3 if options.grid else 100)
    return options


def _grid(options: argparse.Namespace, subject: Subject, sample: Sample) -> None:
    chosen = grid.cells(subject.users, sample, None if options.all else options.sample, options.seed)
    grid.run(Client(subject.port), chosen, options.rounds, options.seed)
    print(f"\n{grid.summary(chosen)}\n")


def _growth(options: argparse.Namespace, found: list[Subject], samples: list[Sample]) -> None:
    chance = random.Random(options.seed)
    clients = [Client(subject.port) for subject in found]
    times: _Times = defaultdict(list)
    users: dict[tuple[kinds.Kind, int], int] = {}
    asked = kinds.kinds()
    requests = [(kind, side) for kind in asked for side in range(len(found))]
    for number in range(_WARM_UP + options.rounds):
        for kind, side in chance.sample(requests, len(requests)):
            path = kind.path(samples[side], found[side].users, chance)
            answer = clients[side].get(path, kind.prefer)
            if answer.status != HTTPStatus.OK:
                sys.exit(f"Error: {path} gave {answer.status}: {answer.body.decode()}")
            users[kind, side] = answer.rows
            if number >= _WARM_UP:
                times[kind, side].append(answer.ms)
    lines = [_line(kind, times, users) for kind in asked]
    print(f"\n{table(_SUMMARY, _summary(asked, times))}\n\n{table(_TITLES, lines)}\n")


def _line(kind: kinds.Kind, times: _Times, users: dict[tuple[kinds.Kind, int], int]) -> tuple[Any, ...]:
    small, large = (statistics.median(times[kind, side]) for side in range(2))
    p95 = statistics.quantiles(times[kind, 1], n=20)[-1]
    return (f"{kind.group}: {kind.name}", small, large, large / small, p95, f"{users[kind, 0]}/{users[kind, 1]}")


def _summary(asked: list[kinds.Kind], times: _Times) -> list[tuple[Any, ...]]:
    """The medians over all requests of a group, and the number of its requests that grow by more than the goal."""
    groups: dict[str, list[kinds.Kind]] = defaultdict(list)
    for kind in asked:
        groups[kind.group].append(kind)
    summary = []
    for group, of in groups.items():
        small, large = (statistics.median(ms for kind in of for ms in times[kind, side]) for side in range(2))
        ratios = [statistics.median(times[kind, 1]) / statistics.median(times[kind, 0]) for kind in of]
        verdict = ("PASS" if large / small <= GOAL else "FAIL") if group in kinds.PROMISED else None
        over = f"{sum(ratio > GOAL for ratio in ratios)} of {len(of)}"
        summary.append((group, small, large, large / small, verdict, over, max(ratios)))
    return summary


if __name__ == "__main__":
    main()
