"""Code that the benchmarks share. The scripts beside this folder are run by path: `python bench/growth.py`.

Importing this package makes `app` and `embedded` importable as well.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BENCH_DATA") or ROOT / ".data" / "bench").resolve()
"""Seeded databases, contenders and logs, kept between runs. BENCH_DATA names one folder for several checkouts."""

sys.path.insert(0, str(ROOT))
