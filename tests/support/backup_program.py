"""The program of the service `backup` (deploy/backup), which is not installed."""

import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

_PACKAGE = Path(__file__).resolve().parents[2] / "deploy" / "backup"


def backup_modules(monkeypatch: pytest.MonkeyPatch, *names: str) -> SimpleNamespace:
    """Import modules of the program, for as long as the test runs."""
    monkeypatch.syspath_prepend(_PACKAGE)
    return SimpleNamespace(**{name: importlib.import_module(f"backup.{name}") for name in names})


def add_program(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """A script in `folder` that stands in for the program `name`, which this machine may not have."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    if not os.environ["PATH"].startswith(f"{folder}:"):
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
