"""What is measured in each scenario, its bounds, and the table of docs/reliability.md."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.overload.load import Result

MIB = 2**20
MOST_CLIENT_CPU, MOST_CLIENT_LAG_S, LEAST_LIMITED = 0.7, 0.05, 0.8


class Scenario(NamedTuple):
    """What is beside the load, and whether refused clients wait as Retry-After says."""

    name: str
    idle: int = 0
    slow: int = 0
    obey_retry_after: bool = True


SCENARIOS = (
    Scenario("alone"),
    Scenario("beside 2,000 idle connections", idle=2000),
    Scenario("beside 500 slow connections", slow=500),
    Scenario("clients that retry at once", obey_retry_after=False),
)


@dataclass(frozen=True)
class Measured:
    """One scenario.

    live: status and seconds of each check. memory: bytes before the clients came, then in intervals. limited: the
    share of the periods in which the service used up its CPU time. machine_cpu: the share of all cores that was busy.
    """

    scenario: Scenario
    connections: int
    result: Result
    live: Sequence[tuple[int, float]]
    memory: Sequence[int]
    recovery_s: float
    limited: float
    machine_cpu: float

    @property
    def seconds(self) -> float:
        return self.result.ended - self.result.began


class Measure(NamedTuple):
    """A number of each scenario. most: its bound, None without one."""

    name: str
    of: Callable[[Measured], float]
    most: float | None = None
    digits: int = 0


MEASURES = (
    Measure("connections of the load", lambda found: found.connections),
    Measure("admitted requests a second", lambda found: len(found.result.admitted) / found.seconds),
    Measure("refused requests a second", lambda found: len(found.result.refused) / found.seconds),
    Measure("admitted, median, ms", lambda found: 1000 * quantile(found.result.admitted, 0.5)),
    Measure("admitted, 99th percentile, ms", lambda found: 1000 * quantile(found.result.admitted, 0.99), 2000),
    Measure("refused, median, ms", lambda found: 1000 * quantile(found.result.refused, 0.5), 100),
    Measure("other responses, and connections cut", lambda found: sum(found.result.wrong.values()), 0),
    Measure("`/api/health/live`: checks without 200", lambda found: sum(status != 200 for status, _ in found.live), 0),
    Measure("`/api/health/live`: slowest check, ms", lambda found: 1000 * max(took for _, took in found.live), 2000),
    Measure("memory gained, MiB", lambda found: (max(found.memory) - found.memory[0]) / MIB, 64),
    Measure("recovery, s", lambda found: found.recovery_s, 2, 2),
)
SHORT_S = 15
AT_ONCE_UNBOUND = "refused, median, ms"
"""Each client that retries at once is refused once in a period of the limit, and so waits for most of it."""


def problems(found: Measured) -> list[str]:
    """The bounds that a scenario exceeds."""
    values = [(measure, measure.of(found)) for measure in MEASURES]
    exceeded = [
        f"{found.scenario.name}: {measure.name}: {value:,.{measure.digits}f}, at most {measure.most}"
        for measure, value in values
        if not value <= _most(measure, found)
    ]
    return exceeded + ([f"{found.scenario.name}: {dict(found.result.wrong)}"] if found.result.wrong else [])


def doubts(found: Measured) -> list[str]:
    """Why a scenario measures something else than an overloaded service."""
    result, name = found.result, found.scenario.name
    checks = {
        f"the clients used {result.cpu:.0%} of their core": result.cpu <= MOST_CLIENT_CPU,
        f"the clients were late: {quantile(result.lags, 0.99):.3f} s": quantile(result.lags, 0.99) <= MOST_CLIENT_LAG_S,
        f"the service reached its limit in only {found.limited:.0%} of the periods": found.limited >= LEAST_LIMITED,
        "no request was refused": bool(result.refused),
        "no request was admitted": bool(result.admitted),
    }
    return [f"{name}: {doubt}" for doubt, is_fine in checks.items() if not is_fine]


def table(all_found: Sequence[Measured]) -> str:
    """One row for each measure, one column for each scenario."""
    names = [found.scenario.name for found in all_found]
    rows = [
        f"| {measure.name} | {'' if measure.most is None else f'{measure.most:,}'} |"
        + "".join(f" {_cell(measure, found)} |" for found in all_found)
        for measure in MEASURES
    ]
    return "\n".join([f"| measured | at most | {' | '.join(names)} |", "|---|---:|" + "---:|" * len(names), *rows])


def conditions(all_found: Sequence[Measured]) -> str:
    """How well the clients and the limit worked, and how busy the machine was."""
    lag_ms = 1000 * max(quantile(found.result.lags, 0.99) for found in all_found)
    cpu = max(found.result.cpu for found in all_found)
    busy = statistics.mean(found.machine_cpu for found in all_found)
    return (
        f"The service reached its limit in at least {min(found.limited for found in all_found):.0%} of the periods."
        f" The clients used at most {cpu:.0%} of their core, and were at most {lag_ms:.0f} ms late (99th percentile)."
        f" The machine was {busy:.0%} busy."
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by this share of the values; 0 without values."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def _most(measure: Measure, found: Measured) -> float:
    """The bound. In a few seconds the median of refusals varies by a period of the limit, so it is twice as high."""
    if measure.most is None or _is_unbound(measure, found.scenario):
        return float("inf")
    is_short = found.seconds < SHORT_S and measure.name == AT_ONCE_UNBOUND
    return 2 * measure.most if is_short else measure.most


def _is_unbound(measure: Measure, scenario: Scenario) -> bool:
    return measure.name == AT_ONCE_UNBOUND and not scenario.obey_retry_after


def _cell(measure: Measure, found: Measured) -> str:
    mark = " (no bound)" if _is_unbound(measure, found.scenario) else ""
    return f"{measure.of(found):,.{measure.digits}f}{mark}"
