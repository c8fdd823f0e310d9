"""Runs programs that create an application in a new process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LINKS = """
links = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if number not in "012"
         and os.path.lexists(f"/proc/self/fd/{number}")]
print([link for link in links if link.startswith("socket:")], len(os.listdir("/proc/self/task")))
"""
"""A program that prints its open sockets and its number of threads."""


def output_of(program: str, database_url: str = "postgresql://u:p@127.0.0.1:1/d", **settings: str) -> str:
    """The output of `program`, which runs in a new process after create_app()."""
    begin = "import os, sys, app\napplication = app.create_app()\n"
    env = {**os.environ, "DATABASE_URL": database_url, **settings}
    command = [sys.executable, "-c", begin + program]
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return done.stdout.strip()
