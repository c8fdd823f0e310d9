"""Writes the results of long runs into docs/reliability.md, between markers."""

import subprocess
import time
from pathlib import Path

from tests.support.service_process import ROOT

PAGE = ROOT / "docs" / "reliability.md"


def write_results(name: str, text: str, page: Path = PAGE) -> None:
    """Replace the results of this name, for example "table of faults", by `text`."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    content = page.read_text()
    head, tail = content.partition(begin)[0], content.partition(end)[2]
    assert tail, f"{page} has no place for the {name}"
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def day_and_commit() -> str:
    """The day and the commit of a run, as results begin."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {done.stdout.strip()}"
