"""Starts scripts that start private servers."""

from collections.abc import Callable, Iterator

import pytest
from witness import Script


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    """Start scripts. They are killed after the test."""
    scripts: list[Script] = []

    def start(text: str, *arguments: str, env: dict[str, str] | None = None) -> Script:
        scripts.append(Script(text, *arguments, env=env))
        return scripts[-1]

    yield start
    for one in scripts:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        one.output.close()
