"""Creates .venv and installs the pinned packages, if necessary: for `make run` on a new machine.

Standard library only, and syntax that older versions of Python can read far enough to say
that they are too old.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
REQUIREMENTS = ("app/requirements.txt", "requirements-dev.txt")


def main() -> None:
    """Create a .venv with the pinned versions, unless it exists."""
    if sys.version_info < OLDEST:
        _switch()
    if not _is_usable():
        _make()
    elif STAMP.exists() and STAMP.read_text() == _wanted():
        return
    print("Installing the packages into .venv (once, a minute or so)", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    files = [part for name in REQUIREMENTS for part in ("-r", name)]
    if subprocess.call([*pip, "--require-hashes", *files], cwd=str(ROOT)) != 0:
        sys.exit("Error: pip could not install the packages; its own words are above.")
    STAMP.write_text(_wanted())


def _switch() -> None:
    """Continue in a newer Python of this machine, or print which version is needed."""
    for name in NEWER:
        found = shutil.which(name)
        if found is not None:
            os.execv(found, [found, *sys.argv])  # noqa: S606 - there is nothing for a shell to do
    sys.exit(
        "Error: Python {}.{} or newer is needed, and {} is {}.{}. With another one: "
        "make run PYTHON=/path/to/python3.12".format(*OLDEST, sys.executable, *sys.version_info[:2])
    )


def _is_usable() -> bool:
    """Return whether the Python of .venv exists and has the version for which .venv was created."""
    # After an upgrade of the system's Python, a .venv does not find its packages.
    version = PYTHON.resolve().name  # python3.12, if the system names it like that
    moved = version.startswith("python3.") and not (VENV / "lib" / version).is_dir()
    return PYTHON.exists() and not moved


def _wanted() -> str:
    """Return the stamp of an installation of the present files."""
    digest = hashlib.sha256()
    for name in REQUIREMENTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _make() -> None:
    """Replace .venv by an empty one."""
    print("Making .venv with Python {}.{}".format(*sys.version_info[:2]), flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode != 0:
        shutil.rmtree(str(VENV), ignore_errors=True)  # half of one would pass for whole
        sys.stderr.write(made.stdout.decode(errors="replace"))
        sys.exit(
            "Error: this Python cannot make a virtual environment. On Debian and Ubuntu: "
            "apt-get install python{}.{}-venv".format(*sys.version_info[:2])
        )


if __name__ == "__main__":
    main()
