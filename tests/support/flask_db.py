"""Runs `flask db` in a new process."""

import os
import subprocess
import sys

from tests.support.service_process import ROOT, SERVER_VARIABLES


def flask_db(url: str, *words: str) -> str:
    """The output of `flask db WORDS`."""
    env = {**{name: value for name, value in os.environ.items() if name not in SERVER_VARIABLES}, "DATABASE_URL": url}
    command = [sys.executable, "-m", "flask", "--app", "app", "db", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
