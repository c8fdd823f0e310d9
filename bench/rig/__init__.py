"""What the measurements share. The scripts beside this folder are run by path: `python bench/growth.py`.

Importing this package makes `app` and `embedded` importable as well.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / ".data" / "bench"

sys.path.insert(0, str(ROOT))
