"""Measures the time of a start and the memory at rest, without Docker and (if an engine is running) with Docker.

    python bench/start.py                   both
    python bench/start.py --only local      without Docker; --only docker: with Docker

A cold start has no data: the database is created and migrated. A warm start is the next one. The reference is the
minimum of such a stack: `import flask, flask_sqlalchemy`, then the same PostgreSQL without a service.
"""

import argparse
import random
import statistics

from rig.containers import Containers
from rig.report import conditions, table
from rig.starting import Figures, Local, Way, rounds

_TITLES = ("s", "ours", "import Flask", "bare PostgreSQL", "reference", "ratio")


def main() -> None:
    """Parse the command line, measure, and print the tables."""
    options = _parse()
    print(conditions(f"{options.rounds} rounds", f"PostgreSQL {options.postgres} without Docker"), flush=True)
    ways: list[Way] = [Local(options.postgres)] if options.only != "docker" else []
    if options.only != "local":
        if reason := Containers.why_not():
            print(f"\nNot measured with Docker: {reason}")
        else:
            ways.append(Containers())
    for way in ways:
        with way:
            print(f"\n{_tables(way, options.rounds, random.Random(options.seed))}", flush=True)
    print(f"\n{conditions('at the end')}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--postgres", type=int, choices=(16, 18), default=18, help="version of PostgreSQL without Docker (default: 18)"
    )
    parser.add_argument("--only", choices=("local", "docker"))
    parser.add_argument("--seed", type=int, default=1, help="seed of the order in each round")
    return parser.parse_args()


def _tables(way: Way, count: int, chance: random.Random) -> str:
    taken, held, least = (_medians(figures) for figures in rounds(way, count, chance))
    lines = []
    for kind in ("cold", "warm"):
        reference = least["import"] + least[kind]
        lines.append((kind, taken[kind], least["import"], least[kind], reference, taken[kind] / reference))
    memory = [*held.items(), ("together", sum(held.values()))]
    return f"{way.title}\n\n{table(_TITLES, lines)}\n\n{table((way.memory_title, 'MiB'), memory)}"


def _medians(measured: list[Figures]) -> Figures:
    return {name: statistics.median(figures[name] for figures in measured) for name in measured[0]}


if __name__ == "__main__":
    main()
