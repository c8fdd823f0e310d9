"""Measures what each mechanism of the service brings: the goals of bench/speed.py with it and without it.

    python bench/ablation.py                              all variants, all workloads
    python bench/ablation.py --only create --without group telling
    python bench/ablation.py --alone                      CPU time of single requests, without a server

Each variant is the service with one part replaced by a plainer one (bench/rig/variants.py). In each round every variant
is started, warmed up and driven once, in an order by chance, and so are those whom the goals are compared with: nobody
else runs meanwhile. CPU per request is steadier than requests/s on a machine that does other things as well.
"""

import argparse
import random
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import fields, replace

from rig.contenders import FASTIFY, NAIVE, Contender, serving
from rig.cpu_alone import measured
from rig.driving import Draws, Load, Turn, drive
from rig.ground import Ground, ground
from rig.installing import install_contenders, require_tools
from rig.report import conditions, table
from rig.subjects import Servers, servers
from rig.usage import memory_mib
from rig.variants import VARIANTS, WHOLE, Variant
from rig.workloads import WORKLOADS, Workload, request
from speed import settings_of

_IDS_PER_S = 40_000
_SETTLE_S = 3.0
_WARM_UP_S = {"zipf": 15, "mixed": 8}
_SHORT_WARM_UP_S = 2
_TITLES = ("requests/s", "CPU µs", "database CPU µs", "p99 ms", "CPU to whole", "MiB", "goals")
_Figures = dict[Contender, list[Turn]]


def main() -> None:
    """Run what the command line asks for, and print a table for each workload."""
    options = _parse()
    require_tools()
    install_contenders()
    with (
        servers(options.postgres, options.shared_buffers) as running,
        ground(running, options.users, keep=True) as common,
    ):
        print(conditions(f"PostgreSQL {running.version()}", f"{options.users:,} users"), flush=True)
        if options.alone:
            wanted = [one for one in VARIANTS if one.is_seen_alone and one.key in (options.without or [one.key])]
            print(f"\n{measured([WHOLE, *wanted], settings_of(running, common), common)}\n\n{conditions('at the end')}")
            return
        workloads = {workload.key: workload for workload in WORKLOADS}
        for key in options.only or WHOLE.workloads:
            _Ablation(options, running, common, workloads[key]).run()
    print(conditions("at the end"))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = [variant.key for variant in VARIANTS]
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of one turn (default: 3)")
    parser.add_argument("--only", nargs="+", choices=WHOLE.workloads, help="workloads")
    parser.add_argument("--without", nargs="+", choices=keys, help="variants (default: all)")
    parser.add_argument("--alone", action="store_true", help="single requests, in a process without a server")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument("--shared-buffers", default="3GB")
    return parser.parse_args()


class _Ablation:
    """One workload."""

    def __init__(self, options: argparse.Namespace, running: Servers, common: Ground, workload: Workload) -> None:
        self._options, self._common, self._workload = options, common, workload
        self._settings = settings_of(running, common)
        self._pids = [pid for pid in (running.postgres.pid, running.redis.pid) if pid is not None]
        wanted = [
            one for one in VARIANTS if workload.key in one.workloads and one.key in (options.without or [one.key])
        ]
        self._variants: dict[Contender, Variant] = {one.contender: one for one in (WHOLE, *wanted)}
        others = [other for other in (NAIVE, FASTIFY) if other in workload.contenders]
        self._kinds = [*self._variants, *others]
        self._memory: dict[Contender, list[float]] = defaultdict(list)
        self._stem, self._turn = f"{int(time.time()):x}", 0
        self._warm_up_s = _WARM_UP_S.get(workload.key, _SHORT_WARM_UP_S)

    def run(self) -> None:
        """Measure, and print what came of all rounds."""
        if self._workload.draws == "ids":
            self._common.write_draws(self._options.rounds * self._ids_of_round)
        else:
            self._common.write_draws(0)
        turns: _Figures = {kind: [] for kind in self._kinds}
        chance = random.Random(1)
        for number in range(self._options.rounds):
            for kind in chance.sample(self._kinds, len(self._kinds)):
                turns[kind].append(self._measured(kind, number))
                sys.stderr.write(f"{self._workload.key}, round {number + 1}: {kind.title}\n")
        print(f"\n{self._table({kind: _middle(of) for kind, of in turns.items()})}\n", flush=True)

    @property
    def _ids_of_round(self) -> int:
        return (self._warm_up_s + self._options.seconds) * _IDS_PER_S

    def _measured(self, kind: Contender, number: int) -> Turn:
        with serving(kind, self._settings, self._common.admin_id) as started:
            drive(started, self._load(kind, number, self._warm_up_s, is_warm_up=True), self._pids)
            variant = self._variants.get(kind)
            if variant is not None and variant.has_memory:
                time.sleep(_SETTLE_S)
                self._memory[kind].append(memory_mib(started.pid))
            return drive(started, self._load(kind, number, self._options.seconds, is_warm_up=False), self._pids)

    def _load(self, kind: Contender, number: int, seconds: int, *, is_warm_up: bool) -> Load:
        requests = tuple(request(kind, one) for one in self._workload.kinds)
        self._turn += 1
        stem = f"{self._workload.key}-{self._stem}-{self._turn}-"
        draws = self._draws(number, seconds, is_warm_up=is_warm_up)
        return Load(requests, draws, self._workload.connections, seconds, stem)

    def _draws(self, number: int, seconds: int, *, is_warm_up: bool) -> Draws | None:
        if self._workload.draws is None:
            return None
        if self._workload.draws != "ids":
            turn = 2 * number + (0 if is_warm_up else 1)
            return self._common.words(self._workload.draws, turn, 2 * self._options.rounds)
        first = number * self._ids_of_round + (0 if is_warm_up else self._warm_up_s * _IDS_PER_S)
        return self._common.ids_from(first, seconds * _IDS_PER_S)

    def _table(self, turns: dict[Contender, Turn]) -> str:
        whole = turns[self._kinds[0]]
        lines = [
            (
                kind.title,
                round(turn.per_s),
                round(turn.cpu_us),
                round(turn.database_cpu_us),
                turn.p99_ms,
                turn.cpu_us / whole.cpu_us,
                statistics.median(self._memory[kind]) if kind in self._memory else None,
                self._goals(turn, turns) if kind in self._variants else None,
            )
            for kind, turn in turns.items()
        ]
        return table((f"{self._workload.title} ({self._workload.connections} connections)", *_TITLES), lines)

    def _goals(self, turn: Turn, turns: dict[Contender, Turn]) -> str:
        """Each goal with what was measured, and those that are missed."""
        found = []
        for goal in self._workload.goals:
            ratio = turn.per_s / turns[goal.other].per_s
            found.append(f"{ratio:.3g} x {goal.other.name}{'' if ratio >= goal.times else ': MISSED'}")
        if self._workload.cpu is not None and turn.cpu_us > self._workload.cpu.most_us:
            found.append("CPU: MISSED")
        return ", ".join(found)


def _middle(turns: list[Turn]) -> Turn:
    """Medians; of CPU time the least, to which the other work of the machine only adds."""
    median = Turn(*(statistics.median(getattr(turn, one.name) for turn in turns) for one in fields(Turn)))
    least = {name: min(getattr(turn, name) for turn in turns) for name in ("cpu_us", "database_cpu_us")}
    return replace(median, **least)


if __name__ == "__main__":
    main()
