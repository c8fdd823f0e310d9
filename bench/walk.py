"""Counts what a reader of app/ must read: the files and functions that a request enters, and the size of the code.

    python bench/walk.py              the tables, and the order of the files for docs/architecture.md
    python bench/walk.py --functions  also the names of the functions
    python bench/walk.py --check      fails when a count is above its bound

The service runs as `python -m app` with one worker, on its own PostgreSQL and Redis. Requests are sent over HTTP.
Counted are distinct code objects of Python files below app/, in all threads of the process that responds. Caches are
empty, and the process has responded to such requests before. Of the code, the script uses only `create_app`.
"""

import argparse
import sys
from typing import NamedTuple

from rig.code_size import code_lines, longest_files, longest_functions
from rig.report import conditions, table
from rig.walking import Walk, walker

_MOST_LINES = 8565
"""85 % of the 8,900 lines of commit a9430ac, before the architecture was changed, which commit b83ff23 kept; and 1,000
for what production needs: metrics, traces, the access log, retention, the checks of `flask doctor --production`."""
_LONGEST_FUNCTION, _LONGEST_FILE = 40, 300
_SHOWN = 5


class Bound(NamedTuple):
    """The largest allowed count."""

    files: int
    functions: int


_GET, _PATCH, _SEARCH = Bound(18, 50), Bound(26, 105), Bound(26, 95)


def main() -> int:
    """Print the counts. Returns 1 with --check, if a count is above its bound."""
    options = _parse()
    print(conditions(), flush=True)
    functions, files = longest_functions(_SHOWN), longest_files(_SHOWN)
    with walker(sys.executable, options.postgres) as requests:
        walks = {requests.get_user(): _GET, requests.patch_user(): _PATCH, requests.search(): _SEARCH}
    counts = [
        *((f"{walk.title}: files of app/", len(walk.files), bound.files) for walk, bound in walks.items()),
        *((f"{walk.title}: functions", len(walk.functions), bound.functions) for walk, bound in walks.items()),
        ("code lines of app/", code_lines(), _MOST_LINES),
        ("lines of the longest function", functions[0].lines, _LONGEST_FUNCTION),
        ("lines of the longest file", files[0].lines, _LONGEST_FILE),
    ]
    rows = [(title, count, most, "PASS" if count <= most else "FAIL") for title, count, most in counts]
    print(f"\n{table(('counted', 'found', 'at most', ''), rows)}")
    print(f"\n{table(('longest functions', 'lines'), [(size.place, size.lines) for size in functions])}")
    print(f"\n{table(('longest files', 'lines'), [(size.place, size.lines) for size in files])}")
    for walk in walks:
        print(f"\n{_order(walk, with_functions=options.functions)}")
    return 1 if options.check and any(verdict == "FAIL" for *_, verdict in rows) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument("--functions", action="store_true", help="list the functions below each file")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a count is above its bound")
    return parser.parse_args()


def _order(walk: Walk, *, with_functions: bool) -> str:
    """The files in the order in which the request enters them."""
    lines = [f"{walk.title} enters, in this order:"]
    for place, file in enumerate(walk.files, 1):
        names = [function.name for function in walk.functions if function.file == file]
        lines.append(f"{place:3}. app/{file} ({len(names)})" + (f": {', '.join(names)}" if with_functions else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
