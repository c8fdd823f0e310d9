"""Finds the blocks of code in pages of the docs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code: its language, its text, and the line of text before it."""

    language: str
    text: str
    before: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order; `page` is a path below the root of the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(found[1], found[2], text[: found.start()].rstrip().rpartition("\n")[2])


def console_commands(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each command after `$ ` in the console blocks of a page, with its input lines, which follow `>>> `."""
    for block in blocks(page):
        if block.language != "console":
            continue
        commands: list[tuple[str, list[str]]] = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif line.startswith(">>> "):
                commands[-1][1].append(line[4:])
        yield from commands
