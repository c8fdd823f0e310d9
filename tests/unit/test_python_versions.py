"""All files agree on the oldest Python and on the Python of the image."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from embedded.install import OLDEST

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLDEST_NAME = PROJECT["project"]["requires-python"].removeprefix(">=")


def image() -> str:
    """The version that the image has."""
    found = re.search(r"^ARG PYTHON=python:(\d+\.\d+)-slim$", (ROOT / "app/Dockerfile").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_the_tools_check_for_the_oldest_python() -> None:
    assert tuple(map(int, OLDEST_NAME.split("."))) == OLDEST
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{OLDEST_NAME.replace('.', '')}"
    assert PROJECT["tool"]["mypy"]["python_version"] == OLDEST_NAME
    assert f"--python-version {OLDEST_NAME} " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "Makefile", "docs/exercice.md"])
def test_the_docs_name_the_oldest_python(name: str) -> None:
    assert re.findall(r"Python (\d+\.\d+) (?:or newer|ou plus récent)", (ROOT / name).read_text()) == [OLDEST_NAME]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/exercice.md"])
def test_the_docs_name_the_python_of_the_image(name: str) -> None:
    assert set(re.findall(r"python:(\d+\.\d+)-slim", (ROOT / name).read_text())) == {image()}


def test_ci_tests_the_oldest_python_and_the_python_of_the_image() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / "tests/fresh", "--help"], capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"Python (\d+\.\d+),", printed.stdout)) == {OLDEST_NAME, image()}
