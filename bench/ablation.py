"""Measures what each mechanism of the service brings: its figures with the mechanism and without it.

    python bench/ablation.py --alone                      single requests in a process without a server
    python bench/ablation.py                              the workloads and goals of bench/speed.py
    python bench/ablation.py --only create --without group batch --rounds 2

Each variant is the service with a plainer part in place of one mechanism (bench/rig/variants.py).
"""

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import fields, replace

from rig import ROOT, alone
from rig.contenders import FASTIFY, NAIVE, OURS, OWN_VENV, Contender, serving
from rig.driving import Turn
from rig.ground import Ground, ground
from rig.installing import install_contenders, require_tools
from rig.racing import Race
from rig.report import conditions, table
from rig.subjects import Servers, servers
from rig.variants import VARIANTS, WHOLE, Variant
from rig.workloads import Workload, chosen
from speed import settings_of

_WORKLOADS = ("create", "once", "one", "zipf", "mixed")
_TITLES = ("requests/s", "CPU µs", "database CPU µs", "p99 ms", "CPU to whole", "goals")


def main() -> None:
    """Parse the command line, measure and print the tables."""
    options = _parse()
    variants = [one for one in VARIANTS if not options.without or one.key in options.without]
    print(conditions(f"{options.rounds} rounds"), flush=True)
    if options.alone:
        print(f"\n{alone.measure([WHOLE, *variants], options.postgres, options.rounds)}\n")
    else:
        _measure_with_load(options, variants)
    print(conditions("at the end"))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", action="store_true", help="single requests, in a process without a server")
    parser.add_argument("--without", nargs="+", choices=[one.key for one in VARIANTS], help="variants (default: all)")
    parser.add_argument("--only", nargs="+", choices=_WORKLOADS, default=_WORKLOADS, help="workloads (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="seconds of one turn (default: 3)")
    parser.add_argument("--warm-up", type=int, default=20, help="longest warm-up in seconds (default: 20)")
    parser.add_argument("--users", type=int, default=1_000_000, help="with load (default: 1,000,000)")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument("--shared-buffers", default="3GB")
    return parser.parse_args()


def _measure_with_load(options: argparse.Namespace, variants: Sequence[Variant]) -> None:
    require_tools()
    install_contenders()
    with (
        servers(options.postgres, options.shared_buffers) as running,
        ground(running, options.users, keep=True) as common,
    ):
        for workload in chosen(options.only, [NAIVE.name, FASTIFY.name], options.warm_up):
            ours = [OURS, *(_contender(one) for one in variants if workload.key in one.workloads)]
            print(f"\n{_run(options, replace(workload, has_hit_ratio=False), ours, running, common)}\n", flush=True)


def _contender(variant: Variant) -> Contender:
    """The service without one mechanism."""
    command = (str(OWN_VENV / "bin" / "python"), "-m", "rig.variants", variant.key)
    return replace(OURS, name=f"ours {variant.key}", title=variant.title, command=command, cwd=ROOT / "bench")


def _run(
    options: argparse.Namespace, workload: Workload, ours: Sequence[Contender], running: Servers, common: Ground
) -> str:
    """The table of one workload. In each round, all contenders are measured once, in random order.

    They run one after another, since each running service also polls PostgreSQL for changes.
    """
    kinds = [*ours, *(one for one in workload.contenders if one in {NAIVE, FASTIFY})]
    settings, chance = settings_of(running, common), random.Random(1)
    pids = [pid for pid in (running.postgres.pid, running.redis.pid) if pid is not None]
    turns: dict[Contender, list[Turn]] = {kind: [] for kind in kinds}
    for _ in range(options.rounds):
        for kind in chance.sample(kinds, len(kinds)):
            of_one = replace(workload, contenders=(kind,))
            with serving(kind, settings, common.admin_id) as started:
                race = Race([started], common, settings, pids, rounds=1, seconds=options.seconds)
                turns[kind].append(race.run([of_one])[of_one][kind])
    return _table(workload, {kind: _summary(of) for kind, of in turns.items()})


def _summary(turns: Sequence[Turn]) -> Turn:
    """Medians; of CPU time the least, because other work of the machine only adds."""
    found = Turn(*(statistics.median(getattr(turn, one.name) for turn in turns) for one in fields(Turn)))
    least = {name: min(getattr(turn, name) for turn in turns) for name in ("cpu_us", "database_cpu_us")}
    return replace(found, **least)


def _table(workload: Workload, turns: dict[Contender, Turn]) -> str:
    whole = turns[OURS]
    lines = [
        (
            WHOLE.title if kind is OURS else kind.title,
            round(turn.per_s),
            round(turn.cpu_us),
            round(turn.database_cpu_us),
            turn.p99_ms,
            turn.cpu_us / whole.cpu_us,
            _goals(workload, turn, turns) if kind.is_ours else None,
        )
        for kind, turn in turns.items()
    ]
    return table((f"{workload.title} ({workload.connections} connections)", *_TITLES), lines)


def _goals(workload: Workload, turn: Turn, turns: dict[Contender, Turn]) -> str:
    """The measured value of each goal, and which goals are missed."""
    ratios = [(goal, turn.per_s / turns[goal.other].per_s) for goal in workload.goals]
    found = [f"{ratio:.3g} x {goal.other.name}{'' if ratio >= goal.times else ': MISSED'}" for goal, ratio in ratios]
    if workload.cpu is not None and turn.cpu_us > workload.cpu.most_us:
        found.append("CPU: MISSED")
    return ", ".join(found)


if __name__ == "__main__":
    main()
