"""Runs other programs: pipelines, and SQL by psql."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from backup.errors import Failed
from backup.settings import Settings

_ERROR = re.compile(r"\b(error|ERROR|FATAL)\b")
Command = Sequence[str | Path]


def pipeline(
    *commands: Command, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None, env: Any = None
) -> None:
    """Run programs, each reading the output of the one before. Raises: Failed, if any of them does"""
    with ExitStack() as stack:
        errors = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        processes: list[subprocess.Popen[bytes]] = []
        source = stdin
        for place, command in enumerate(commands):
            is_last = place == len(commands) - 1
            sink = (stdout or subprocess.DEVNULL) if is_last else subprocess.PIPE
            process = subprocess.Popen(
                command, stdin=source or subprocess.DEVNULL, stdout=sink, stderr=errors[place], env=env
            )
            if processes and processes[-1].stdout:
                # So that a program ends when the one after it has ended.
                processes[-1].stdout.close()
            processes.append(process)
            source = process.stdout
        codes = [process.wait() for process in processes]
        texts = [_read(error) for error in errors]
    failed = [
        reason_of(str(command[0]), text) for command, code, text in zip(commands, codes, texts, strict=True) if code
    ]
    if failed:
        raise Failed("; ".join(failed))


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def reason_of(program: str, text: str) -> str:
    """One line of what a program that failed wrote: the first error, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["failed without a message"]
    errors = [line for line in lines if _ERROR.search(line)]
    return f"{program}: {(errors or lines[-1:])[0].removeprefix(f'{program}: ')}"


class Database:
    """One PostgreSQL, asked by psql. Each query is one statement, so all of its parts see the same snapshot."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = {**os.environ, "PGCONNECT_TIMEOUT": "5", "PGTZ": "UTC", "PGAPPNAME": "backup", **env}

    def run(self, statements: str, **variables: str) -> str:
        """Run statements. Variables are written as :'name'. Raises: Failed"""
        # Not as arguments, which have a maximal length and are visible to others.
        escaped = {name: value.replace("\\", r"\\").replace("'", "''") for name, value in variables.items()}
        text = "".join(f"\\set {name} '{value}'\n" for name, value in escaped.items()) + statements
        command = ["psql", "-qtAX", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=self.env, check=False)
        if done.returncode:
            raise Failed(reason_of("psql", done.stderr))
        return done.stdout.strip()

    def json(self, statement: str, **variables: str) -> Any:
        """The JSON that a statement returns. Raises: Failed"""
        return json.loads(self.run(statement, **variables) or "null")


def live_database(settings: Settings) -> Database:
    """The database that is backed up, as the role of the backups. Raises: Refused"""
    return remote_database(settings, settings.role, settings.password())


def remote_database(settings: Settings, role: str, password: str) -> Database:
    """The database that is backed up. The password is in a file that only this user can read."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    file = Path(tempfile.gettempdir()) / f"pgpass-{role}-{os.getpid()}"
    file.touch(mode=0o600)
    file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
    return Database({"PGHOST": settings.host, "PGUSER": role, "PGDATABASE": settings.database, "PGPASSFILE": str(file)})
