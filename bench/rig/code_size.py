"""The size of the code of app/: lines of code, the longest functions and files. Migrations are not counted."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rig import ROOT

_APP = ROOT / "app"
_MIGRATIONS = "migrations"
_LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


class Size(NamedTuple):
    """A function or file, and its number of lines."""

    lines: int
    place: str


def code_lines() -> int:
    """Lines of app/ without blank lines, comments, docstrings and migrations."""
    return sum(len(_lines_of_code(path.read_text(encoding="utf-8"))) for path in _sources())


def longest_functions(count: int) -> list[Size]:
    """Counted from `def` to the last line, with blank lines, comments and the docstring."""
    found = [
        Size((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.relative_to(ROOT)}: {node.name}")
        for path in _sources()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    return sorted(found, reverse=True)[:count]


def longest_files(count: int) -> list[Size]:
    """Counted with all lines of the file."""
    found = [
        Size(len(path.read_text(encoding="utf-8").splitlines()), str(path.relative_to(ROOT))) for path in _sources()
    ]
    return sorted(found, reverse=True)[:count]


def _sources() -> Iterator[Path]:
    for path in sorted(_APP.rglob("*.py")):
        if _MIGRATIONS not in path.relative_to(_APP).parts:
            yield path


def _lines_of_code(source: str) -> set[int]:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - _lines_of_docstrings(source)


def _lines_of_docstrings(source: str) -> set[int]:
    """Docstrings, and strings below an attribute."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
