"""Status files as the service `backup` writes them (deploy/backup)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


def ago(**units: float) -> str:
    """A moment of the past."""
    return (datetime.now(UTC) - timedelta(**units)).isoformat(timespec="microseconds")


def good_status(**sections: Any) -> dict[str, Any]:
    """The status of a day with a proven backup on another disk. `sections` replace sections."""
    proof = {"backup_id": "b", "started_at": ago(hours=3), "finished_at": ago(hours=3), "proven": True, "reason": None}
    return {
        "service": {"started_at": ago(days=1)},
        "same_disk": False,
        "interval_h": 24,
        "slot": {"wal_status": "reserved", "safe_wal_size": 4_000_000_000},
        "wal": {"archived_at": ago(seconds=3), "archived_lsn": "0/5", "lag_bytes": 0, "error": None},
        "full": {"id": "b", "finished_at": ago(hours=4), "bytes": 9, "duration_s": 1.0},
        "failure": None,
        "verification": proof,
        "last_proven": proof,
        "kept": [{"id": "b", "finished_at": ago(hours=4)}],
        "format": 1,
        "written_at": ago(seconds=2),
        **sections,
    }


def write_status(path: Path, **sections: Any) -> str:
    """Write such a file. Returns its path, as the setting has it."""
    path.write_text(json.dumps(good_status(**sections)))
    return str(path)
