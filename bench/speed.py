"""Measures the service and its references over HTTP: requests/s, CPU per request, latencies, and the goals.

    python bench/speed.py                     all workloads, 1,000,000 users
    python bench/speed.py --only one page     some workloads; also `memory` and `sign-in`
    python bench/speed.py --users 20000 --rounds 1 --seconds 1 --warm-up 5      a short test run
    python bench/speed.py --keep --only once create --against Fastify --rounds 3 --seconds 2
                                              to compare before and after a change, in two minutes

All contenders share one PostgreSQL and one Redis, and wrk sends requests to them in turns, over loopback.
The script is not called http.py, because a file of that name would hide Python's http from every script of this folder.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rig import DATA, ROOT, pocketbase, signing_in
from rig.agreement import require_agreement
from rig.api import ADMIN
from rig.contenders import OURS, POCKETBASE, REFERENCES_TO, Contender, Running, ask, serving
from rig.ground import Ground, ground
from rig.installing import install_contenders, require_tools
from rig.plot import draw
from rig.racing import Race
from rig.report import conditions
from rig.scores import Scores
from rig.subjects import Servers, servers
from rig.usage import memory_mib
from rig.workloads import LONG_WARM_UP_S, WORKLOADS, Workload, chosen

from embedded.ports import HOST

_ALL_USERS = 1_000_000
_SETTLE_S = 3.0
_FIRST_REQUESTS = 10
_MEMORY, _SIGN_IN = "memory", "sign-in"


def main() -> None:
    """Parse the command line, measure, print the tables and write the plot."""
    options = _parse()
    require_tools()
    install_contenders()
    with (
        servers(options.postgres, options.shared_buffers) as running,
        ground(running, options.users, keep=options.keep) as common,
    ):
        facts = (
            f"PostgreSQL {running.version()}, shared_buffers={options.shared_buffers}",
            f"{options.users:,} users",
            f"{options.rounds} rounds of {options.seconds} s",
            *([f"CACHE_TTL_S={options.cache_ttl}"] if options.cache_ttl else []),
        )
        print(conditions(*facts), flush=True)
        scores = _measured(options, running, common)
    print(f"\n{scores.tables()}\n\n{scores.goals()}\n\n{conditions('at the end')}")
    warnings = OURS.log.read_text(encoding="utf-8").splitlines()
    print(f"Lines that ours logged, all of them warnings: {len(warnings)}, in {OURS.log}")
    _plot(options, scores)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = [*(workload.key for workload in WORKLOADS), _MEMORY, _SIGN_IN]
    parser.add_argument("--users", type=int, default=_ALL_USERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="seconds of one turn (default: 3)")
    parser.add_argument("--warm-up", type=int, default=LONG_WARM_UP_S, help="longest warm-up in seconds (default: 120)")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="WORKLOAD", help=f"workloads: {', '.join(keys)}")
    names = [kind.name for kind in REFERENCES_TO]
    parser.add_argument("--against", nargs="+", choices=names, metavar="NAME", help=f"contenders: {', '.join(names)}")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="use and keep the database of the last run with --keep; responses are not compared",
    )
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument(
        "--shared-buffers", default="3GB", help="memory of PostgreSQL: the whole database fits (default: 3GB)"
    )
    parser.add_argument(
        "--cache-ttl", help="CACHE_TTL_S of the service; 0 disables its cache (default: the service's default)"
    )
    parser.add_argument(
        "--svg", type=Path, help="file of the plot (default: docs/images/http.svg for a run of all workloads)"
    )
    return parser.parse_args()


def settings_of(running: Servers, common: Ground) -> dict[str, str]:
    """The settings of the contenders."""
    return {
        "DATABASE_URL": common.url,
        "REDIS_URL": running.redis.url,
        "REDIS_HOST": HOST,
        "LOG_LEVEL": "warning",
        # Writes are counted, but none is refused.
        "WRITE_RATE_PER_MINUTE": str(10**9),
        "ADMIN_EMAIL": ADMIN["email"],
        "ADMIN_PASSWORD": ADMIN["password"],
    }


def _measured(options: argparse.Namespace, running: Servers, common: Ground) -> Scores:
    settings = settings_of(running, common) | ({"CACHE_TTL_S": options.cache_ttl} if options.cache_ttl else {})
    workloads = chosen(options.only, options.against, options.warm_up)
    kinds = _kinds(workloads, options)
    if POCKETBASE in kinds:
        pocketbase.prepare(POCKETBASE.command[0], common.url, options.users)
    weighed = [kind for kind in kinds if kind.workers == OURS.workers] if _is_wanted(_MEMORY, options) else []
    memory = {kind: _memory_alone(kind, settings, common) for kind in weighed}
    with ExitStack() as services:
        contenders = [services.enter_context(serving(kind, settings, common.admin_id)) for kind in kinds]
        if not options.keep:
            print(f"\nAll agree, in {require_agreement(contenders, common)} answers.", flush=True)
        signed_in = signing_in.measure(contenders[0], common.url) if _is_wanted(_SIGN_IN, options) else None
        pids = [pid for pid in (running.postgres.pid, running.redis.pid) if pid is not None]
        race = Race(contenders, common, settings, pids, options.rounds, options.seconds)
        return Scores(race.run(workloads), race.hit_ratios, memory, signed_in)


def _is_wanted(key: str, options: argparse.Namespace) -> bool:
    return not options.only or key in options.only


def _kinds(workloads: list[Workload], options: argparse.Namespace) -> list[Contender]:
    """Ours, and the other contenders that are needed."""
    weighed = [kind for kind in REFERENCES_TO if not options.against or kind.name in options.against]
    needed = [
        OURS,
        *(weighed if _is_wanted(_MEMORY, options) else []),
        *(kind for workload in workloads for kind in workload.contenders),
    ]
    return list(dict.fromkeys(needed))


def _memory_alone(kind: Contender, settings: dict[str, str], common: Ground) -> float:
    """MiB at rest, after a few requests. One contender at a time, because several would share memory."""
    with serving(kind, settings, common.admin_id) as contender:
        for _ in range(_FIRST_REQUESTS):
            _ask_some(contender, common)
        time.sleep(_SETTLE_S)
        return memory_mib(contender.pid)


def _ask_some(contender: Running, common: Ground) -> None:
    for path in (f"{contender.kind.items}/{common.ids[0]}", contender.kind.page):
        ask(contender, "GET", path)


def _plot(options: argparse.Namespace, scores: Scores) -> None:
    is_whole = options.users == _ALL_USERS and not (options.only or options.against or options.cache_ttl)
    path = options.svg or (ROOT / "docs" / "images" if is_whole else DATA) / "http.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date()
    caption = f"{options.users:,} users, 2 workers each, 2 cores shared with wrk and PostgreSQL; {day}"
    path.write_text(draw("Requests per second, side by side", caption, scores.groups()), encoding="utf-8")
    sys.stderr.write(f"The plot is in {path}\n")


if __name__ == "__main__":
    main()
