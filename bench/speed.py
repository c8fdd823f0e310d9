"""Measures our service against others over HTTP: requests/s, CPU per request, latencies, and the goals.

    python bench/speed.py                     all workloads, 1,000,000 users
    python bench/speed.py --only one page     some of them
    python bench/speed.py --users 20000 --rounds 1 --seconds 1     to see that it works

All run side by side on one PostgreSQL and one Redis and are driven in turns, by wrk, over loopback.
It is not called http.py: a file of that name would hide Python's own http from every script of this folder.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from rig import DATA, ROOT, signing_in
from rig.agreement import require_agreement
from rig.contenders import ADMIN, BARE, CONTENDERS, OURS, Contender, Running, ask, serving
from rig.ground import Ground, ground
from rig.installing import install_contenders, require_tools
from rig.plot import draw
from rig.racing import Race
from rig.report import conditions
from rig.scores import Scores
from rig.subjects import Servers, servers
from rig.usage import memory_mib
from rig.workloads import WORKLOADS

from embedded.ports import HOST

_ALL_USERS = 1_000_000
_SETTLE_S = 3.0
_FIRST_REQUESTS = 10


def main() -> None:
    """Run what the command line asks for, print its tables and write the plot."""
    options = _parse()
    require_tools()
    install_contenders()
    with servers(options.postgres, options.shared_buffers) as running, ground(running, options.users) as common:
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
    print(f"Lines that ours logged, all of them warnings: {len(warnings)}, in {OURS.log.relative_to(ROOT)}")
    _plot(options, scores)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=_ALL_USERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one turn (default: 3)")
    parser.add_argument("--only", nargs="+", choices=[workload.key for workload in WORKLOADS], help="workloads")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument("--shared-buffers", default="3GB", help="memory of PostgreSQL: all fits (default: 3GB)")
    parser.add_argument("--cache-ttl", help="CACHE_TTL_S of our service; 0: without its cache (default: its own)")
    parser.add_argument("--svg", type=Path, help="where the plot goes (default: docs/images/http.svg, if all is run)")
    return parser.parse_args()


def _measured(options: argparse.Namespace, running: Servers, common: Ground) -> Scores:
    settings = {
        "DATABASE_URL": common.url,
        "REDIS_URL": running.redis.url,
        "REDIS_HOST": HOST,
        "LOG_LEVEL": "warning",
        # Writes are counted as ever, but none is refused.
        "WRITE_LIMIT": str(10**9),
        "ADMIN_EMAIL": ADMIN["email"],
        "ADMIN_PASSWORD": ADMIN["password"],
        **({"CACHE_TTL_S": options.cache_ttl} if options.cache_ttl else {}),
    }
    memory = {kind: _memory_alone(kind, settings, common) for kind in CONTENDERS if kind is not BARE}
    with ExitStack() as services:
        contenders = [services.enter_context(serving(kind, settings, common.admin_id)) for kind in CONTENDERS]
        compared = require_agreement(contenders, common)
        print(f"\nAll agree, in {compared} answers.", flush=True)
        ours = next(contender for contender in contenders if contender.kind is OURS)
        signed_in = signing_in.measure(ours, common.url)
        pids = [pid for pid in (running.postgres.pid, running.redis.pid) if pid is not None]
        race = Race(contenders, common, pids, options.rounds, options.seconds)
        workloads = [workload for workload in WORKLOADS if not options.only or workload.key in options.only]
        return Scores(race.run(workloads), memory, signed_in)


def _memory_alone(kind: Contender, settings: dict[str, str], common: Ground) -> float:
    """MiB at rest, after a few requests; alone, since services share what they have in common."""
    with serving(kind, settings, common.admin_id) as contender:
        for _ in range(_FIRST_REQUESTS):
            _ask_some(contender, common)
        time.sleep(_SETTLE_S)
        return memory_mib(contender.pid)


def _ask_some(contender: Running, common: Ground) -> None:
    for path in (f"{contender.kind.items}/{common.ids[0]}", contender.kind.page):
        ask(contender, "GET", path)


def _plot(options: argparse.Namespace, scores: Scores) -> None:
    whole = options.users == _ALL_USERS and not options.only and not options.cache_ttl
    path = options.svg or (ROOT / "docs" / "images" if whole else DATA) / "http.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    day = datetime.now(UTC).date()
    caption = f"{options.users:,} users, 2 workers each, 2 cores shared with wrk and PostgreSQL; {day}"
    path.write_text(draw("Requests per second, side by side", caption, scores.groups()), encoding="utf-8")
    sys.stderr.write(f"The plot is in {path}\n")


if __name__ == "__main__":
    main()
