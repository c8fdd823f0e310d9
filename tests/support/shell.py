"""Types commands into an interactive bash on a pseudo-terminal."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[=>])")
_END = re.compile(r"\x02(\d+)\x03$")
# curl ends with 0 also when the answer is an error; typed here, it ends with 22 then.
_SETUP = (
    "stty -echo; PS1=; PS2=; PROMPT_COMMAND='printf \"\\002%s\\003\" $?'; "
    'curl() { command curl --fail-with-body "$@"; }\n'
)

Answers = Sequence[tuple[str, str]]
"""Prompts, each with the text to type."""


class Typed(NamedTuple):
    """The output of a command, and its exit status."""

    output: str
    status: int


class Shell:
    """An interactive bash in `folder`; use it as a context manager."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._fd, theirs = pty.openpty()
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={**env, "TERM": "dumb"},
            start_new_session=True,
        )
        os.close(theirs)
        os.write(self._fd, _SETUP.encode())
        while _END.search(self._read_to("\x03", 30)) is None:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def type(self, command: str, answers: Answers = (), seconds: float = 900) -> Typed:
        """Type a command of one or more lines, answer its prompts, and wait until it ends."""
        # In one group, so that the shell reads all lines before it runs any.
        os.write(self._fd, f"{{ {command}\n}}\n".encode())
        output = ""
        for question, answer in answers:
            output += self._read_to(question, seconds)
            os.write(self._fd, answer.encode() + b"\r")
            output += self._read_to("\n", seconds)
        while (end := _END.search(output)) is None:
            output += self._read_to("\x03", seconds)
        return Typed(_END.sub("", output), int(end[1]))

    def _read_to(self, end: str, seconds: float) -> str:
        seen, deadline = b"", time.monotonic() + seconds
        while not (text := _ESCAPES.sub(b"", seen).decode(errors="replace")).endswith(end):
            assert time.monotonic() < deadline, f"no {end!r} came: {text}"
            if select.select([self._fd], [], [], 0.5)[0]:
                seen += os.read(self._fd, 1)
        return text
