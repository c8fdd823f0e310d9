"""The table of docs/reliability.md: for each measure its levels, its slope, and whether it grows.

`python -m tests.soak.report FILE` prints the table of the samples in FILE, also while the run is going on.
`--write` writes it into docs/reliability.md.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.soak.growth import Trend
from tests.soak.measures import GROWING, Measure, Sample, counted, trends
from tests.support.results import write_results

RESULTS = "table of the soak test"
COLUMNS = ("measure", "first third", "last third", "slope per hour", "per hour, %", "may grow by", "verdict")


def read_samples(file: Path) -> tuple[str, list[Sample]]:
    """What ran, and the samples. A last line that is not complete is left out."""
    first, *others = [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return first["run"], others


def noted(samples: Sequence[Sample]) -> list[str]:
    """The problems of a run, as far as samples have them."""
    return [problem for sample in samples for problem in sample["noted"]]


def growing(samples: Sequence[Sample]) -> list[str]:
    """The measures that grow, with their levels."""
    return [
        f"{measure.name}: {found.first:,.1f}, {found.middle:,.1f}, {found.last:,.1f}"
        for measure, found in trends(samples).items()
        if found.grows
    ]


def table(ran: str, samples: Sequence[Sample]) -> str:
    """What ran, one row for each measure, and what grows by design."""
    found = trends(samples)
    return "\n".join(
        [
            _summary(ran, samples),
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|---|" + "---:|" * (len(COLUMNS) - 2) + "---|",
            *(_row(measure, one, samples[-1]["seconds"]) for measure, one in found.items()),
            "",
            *_by_design(counted(samples)),
        ]
    )


def _summary(ran: str, samples: Sequence[Sample]) -> str:
    last = samples[-1]
    return (
        f"{ran}, {last['seconds'] / 60:.0f} minutes: {last['requests']:,} requests,"
        f" of them {last['writes']:,} writes; {last['unavailable']} answers of 503,"
        f" {last['problems']} unexpected answers and errors; {len(samples)} samples."
    )


def _row(measure: Measure, found: Trend, seconds: float) -> str:
    relative = f"{100 * found.per_hour / found.first:+.1f}" if found.first else "-"
    allowed = measure.may_grow_by(found.first, seconds)
    numbers = (_number(found.first), _number(found.last), f"{found.per_hour:+,.2f}", relative, _number(allowed))
    return f"| {measure.name} | {' | '.join(numbers)} | {'**grows**' if found.grows else 'steady'} |"


def _by_design(samples: Sequence[Sample]) -> list[str]:
    """The growth of the history and of the search index for each write."""
    first, last = samples[0], samples[-1]
    writes = max(1, last["writes"] - first["writes"])
    per_write = {name: (last[name] - first[name]) / writes for name in GROWING}
    rows = [f"| {name} | {_number(last[name])} | {per_write[name]:.3f} |" for name in GROWING]
    return ["| grows by design | at the end | for each write |", "|---|---:|---:|", *rows]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:,.1f}"


def main() -> None:
    ran, samples = read_samples(Path(sys.argv[1]))
    results = table(ran, samples)
    print(results, *noted(samples), sep="\n")  # noqa: T201 - it is what the command is for
    if "--write" in sys.argv[2:]:
        write_results(RESULTS, results)


if __name__ == "__main__":
    main()
