"""Installs the packages of each contender, and checks for wrk and Node.js."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from rig import ROOT
from rig.contenders import OWN_VENV, REFERENCES, VENV

_TOOLS = {
    "wrk": "wrk, which sends the requests (Debian: apt-get install wrk)",
    "node": "Node.js 20 or newer, for the reference in Fastify (Debian 13: apt-get install nodejs npm)",
    "npm": "npm, which installs that reference's packages (Debian: apt-get install npm)",
}
_FASTIFY = REFERENCES / "fastify"
_LOCK = _FASTIFY / "package-lock.json"


def require_tools() -> None:
    """Require all programs. Raises: SystemExit, which names all missing ones"""
    if missing := [what for tool, what in _TOOLS.items() if shutil.which(tool) is None]:
        sys.exit("\n  ".join(["Error: these programs are not on PATH:", *missing]))


def install_contenders() -> None:
    """Install the pinned packages, unless they are installed. Raises: SystemExit"""
    _install("the Python references", VENV, REFERENCES / "requirements.txt")
    _install("what the service needs", OWN_VENV, ROOT / "app" / "requirements.txt")
    if not _is_done(_FASTIFY / "node_modules" / "installed", _LOCK):
        _say("Installing Fastify and pg (once)")
        _run("npm", "ci", "--prefix", str(_FASTIFY), "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
        (_FASTIFY / "node_modules" / "installed").write_text(_digest(_LOCK))


def _install(what: str, venv: Path, requirements: Path) -> None:
    if _is_done(venv / "installed", requirements):
        return
    _say(f"Installing {what} (once)")
    _run(sys.executable, "-m", "venv", "--clear", str(venv))
    pip = (str(venv / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    _run(*pip, "--require-hashes", "-r", str(requirements))
    (venv / "installed").write_text(_digest(requirements))


def _is_done(stamp: Path, source: Path) -> bool:
    return stamp.exists() and stamp.read_text() == _digest(source)


def _digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _run(*command: str) -> None:
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"Error: {command[0]} failed; its output is above.")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
