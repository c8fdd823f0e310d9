"""What the tests that start Compose projects share. Their conftest imports the fixtures, and defines `project_prefix`.

Each worker of pytest-xdist has projects of its own, whose names begin with the prefix.
"""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stack.compose import Stack, projects, why_not


def wait_for_other_runs(session: pytest.Session, prefix: str) -> None:
    """Wait for other runs of these tests on this engine: their projects have the same names."""
    if not hasattr(session.config, "workerinput"):
        lock = (Path(tempfile.gettempdir()) / f"{prefix}.lock").open("w")
        session.config.add_cleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)


def allow_time(items: list[pytest.Item], folder: Path) -> None:
    """Containers take their time, and the first test also pays for the build."""
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def engine() -> None:
    """An engine; without one, these tests are skipped."""
    if reason := why_not():
        pytest.skip(f"tests of Compose projects need Docker and Compose: {reason}")


@pytest.fixture(scope="session")
def make_stack(
    engine: None,  # noqa: ARG001
    project_prefix: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Stack]]:
    """Make projects for several tests."""
    with projects(project_prefix, tmp_path_factory.mktemp) as make:
        yield make


@pytest.fixture
def new_stack(
    engine: None,  # noqa: ARG001
    project_prefix: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Stack]]:
    """Make projects that end with the test: what runs longer takes the time of others, and a network each."""
    with projects(project_prefix, tmp_path_factory.mktemp) as make:
        yield make
