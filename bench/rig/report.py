"""Prints results as Markdown tables."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime

from rig import ROOT


def conditions(*facts: str) -> str:
    """One line with the date, commit, machine and load of a run."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=ROOT
    ).stdout.strip()
    today = datetime.now(UTC).date()
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, Python {platform.python_version()}"
    return ", ".join([str(today), f"commit {commit or 'unknown'}", machine, *facts])


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table. The first column is aligned left, the others right."""
    cells = [[str(title) for title in titles], *[[_text(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    return "\n".join(_line(row, widths) for row in [cells[0], rule, *cells[1:]])


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        value.ljust(width) if column == 0 else value.rjust(width)
        for column, (value, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"| {' | '.join([first, *others])} |"
