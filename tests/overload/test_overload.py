"""An overloaded service: what it admits is fast, the rest is refused at once, and it stays alive (docs/reliability.md).

`make test-overload MINUTES=2` loads it for two minutes, and `MINUTES=0` for a few seconds, in equal shares for the
scenarios. The results of two minutes or more are written into docs/reliability.md.
"""

import os
from collections.abc import Iterator

import psutil
import pytest

from tests.overload import control_group
from tests.overload.measures import SCENARIOS, Measured, Scenario, conditions, doubts, problems, table
from tests.overload.site import CORES, Site, running_site
from tests.overload.watch import Watch, recovery_s
from tests.support.results import day_and_commit, write_results

RESULTS = "table of overload"
MINUTES = float(os.environ.get("MINUTES") or 0)
PUBLISHED_MINUTES = 2
SHORT_S, SHORT_STEP_S, STEP_S = 8.0, 1.5, 3.0
SECONDS = 60 * MINUTES / len(SCENARIOS) or SHORT_S
TIMES, LEAST_SATURATING, MOST_SATURATING = 50, 4, 16
GROWS = 1.1

pytestmark = [
    pytest.mark.skipif(not control_group.is_possible(), reason=control_group.MISSING),
    pytest.mark.timeout(SECONDS + 120),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("overload")) as started:
        yield started


@pytest.fixture(scope="module")
def connections(site: Site) -> int:
    """50 times as many connections as saturate the service: with twice as many, throughput grows by less than 10 %."""
    # Threads and connections to PostgreSQL are made when they are first needed.
    _throughput(site, TIMES * LEAST_SATURATING)
    count, found, last = 1, _throughput(site, 1), 0.0
    while found > GROWS * last and count < MOST_SATURATING:
        count, last = 2 * count, found
        found = _throughput(site, count)
    return TIMES * max(LEAST_SATURATING, count // 2)


@pytest.fixture(scope="module")
def measured() -> Iterator[list[Measured]]:
    """The scenarios so far. The table is written after the last one."""
    found: list[Measured] = []
    yield found
    results = f"{_summary(found)}\n\n{table(found)}"
    print(f"\n{results}")  # noqa: T201 - shown by -s
    if MINUTES >= PUBLISHED_MINUTES and len(found) == len(SCENARIOS):
        write_results(RESULTS, results)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_overloaded_service_refuses_what_it_cannot_answer_soon(
    site: Site, connections: int, measured: list[Measured], scenario: Scenario
) -> None:
    measured.append(_measure(site, scenario, connections))
    assert doubts(measured[-1]) + problems(measured[-1]) == []


def _measure(site: Site, scenario: Scenario, connections: int) -> Measured:
    """Load the service, then wait until it is calm. The idle and slow connections stay until then."""
    beside = {"idle": scenario.idle, "slow": scenario.slow, "obey_retry_after": scenario.obey_retry_after}
    memory, before = site.memory(), site.group.periods()
    psutil.cpu_percent()
    with site.clients(connections=connections, seconds=SECONDS, **beside) as clients:
        with Watch(site) as watch:
            result = clients.result()
        after, machine_cpu = site.group.periods(), psutil.cpu_percent() / 100
        recovery = recovery_s(site, result.ended)
    limited = (after[1] - before[1]) / max(1, after[0] - before[0])
    samples = (memory, *watch.memory)
    return Measured(scenario, connections, result, watch.live, samples, recovery, limited, machine_cpu)


def _throughput(site: Site, connections: int) -> float:
    """Admitted requests in a second."""
    seconds = STEP_S if MINUTES else SHORT_STEP_S
    result = site.load(connections=connections, seconds=seconds)
    return len(result.admitted) / (result.ended - result.began)


def _summary(found: list[Measured]) -> str:
    count = found[0].connections
    return (
        f"{day_and_commit()}, {SECONDS:.0f} s for each scenario, {CORES:g} of a core for all processes of the service:"
        f" {count // TIMES} connections saturate it, and {count} load it. {conditions(found)}"
    )
