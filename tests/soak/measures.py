"""What may not grow, and by how much it may differ between the first and the last part of a run."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.soak.growth import FEWEST, Trend, trend, warm_up_s
from tests.soak.samples import TABLES

SETTLED_S = 1800
"""After that, the memory of processes has its final size."""
PROCESSES = ("launcher", "worker 1", "worker 2", "change poller")


@dataclass(frozen=True)
class Measure:
    """The name of a number of the samples. It may grow by `allowed`, and by this share of its first level.

    settling: how much more it may grow in a run that is shorter than SETTLED_S.
    """

    name: str
    allowed: float
    share: float = 0.0
    settling: float = 0.0

    def may_grow_by(self, level: float, seconds: float) -> float:
        """How much it may grow from this level in a run of so many seconds."""
        return self.allowed + self.share * level + (self.settling if seconds < SETTLED_S else 0.0)


MEASURES = (
    # Not PSS, in which a library counts more when an unrelated program that uses it ends.
    *(Measure(f"resident memory of {name}, MB", 2, 0.03, settling=2) for name in PROCESSES),
    *(Measure(f"file descriptors of {name}", 4) for name in PROCESSES),
    *(Measure(f"threads of {name}", 2) for name in PROCESSES),
    Measure("private memory of PostgreSQL, MB", 5, 0.1, settling=5),
    Measure("connections of PostgreSQL", 2),
    Measure("transactions that are idle", 1),
    Measure("oldest transaction, s", 5),
    Measure("oldest snapshot, transactions", 200),
    Measure("locks", 60),  # a write has about 20, for some milliseconds
    Measure("temporary files of PostgreSQL", 0),
    Measure("dead rows", 1000, 0.5),
    *(Measure(f"rows of {name}", 10, 0.05) for name in TABLES if name != "history"),
    *(Measure(f"table {name}, kB", 300, 0.5) for name in TABLES if name != "history"),
    *(Measure(f"indexes of {name}, kB", 300, 0.5) for name in TABLES if name != "history"),
    Measure("history, bytes per row", 0, 0.15),
    Measure("memory of Redis, MB", 0.5, 0.1),
    Measure("connections of Redis", 2),
    Measure("keys with TTL", 150, 0.3),
    Measure("keys without TTL", 20, 0.1),
    Measure("sockets in CLOSE_WAIT", 2),
    Measure("sockets in TIME_WAIT", 50, 0.2),
    Measure("temporary files", 2),
    Measure("log, kB", 10),
)
GROWING = ("rows of history", "table history, kB", "indexes of history, kB", "search index of users, kB")
"""What grows with each write by design."""

Sample = Mapping[str, Any]


def with_derived(sample: Sample) -> dict[str, Any]:
    """The sample with numbers that follow from others."""
    size = 1024 * (sample["table history, kB"] + sample["indexes of history, kB"])
    return {**sample, "history, bytes per row": size / max(1, sample["rows of history"])}


def counted(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The samples after the warm-up."""
    begin = warm_up_s(samples[-1]["seconds"])
    return [with_derived(sample) for sample in samples if sample["seconds"] >= begin]


def trends(samples: Sequence[Sample]) -> dict[Measure, Trend]:
    """The trend of each measure. Raises: ValueError (there are too few samples)"""
    found = counted(samples)
    if len(found) < FEWEST:
        raise ValueError(f"{len(found)} samples are too few to decide")
    seconds = [sample["seconds"] for sample in found]
    result = {}
    for measure in MEASURES:
        # A process that has ended is missing in later samples, and is a problem of its own.
        values = [float(sample.get(measure.name, 0)) for sample in found]
        level = statistics.median(values[: len(values) // 3])
        result[measure] = trend(seconds, values, measure.may_grow_by(level, samples[-1]["seconds"]))
    return result
