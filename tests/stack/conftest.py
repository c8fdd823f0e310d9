"""What the tests of the stack share: one project that most use and mend, and others for special settings.

Each worker of pytest-xdist has projects of its own.
"""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from compose import Stack, projects, why_not

_NAME = "fullstack-app-test"
_SHORT = Path(__file__).with_name("short.yml")
_LOCK = pytest.StashKey[TextIO]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Wait for other runs of these tests on this engine: their projects have the same names."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[_LOCK] = lock = (Path(tempfile.gettempdir()) / f"{_NAME}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the next run begin."""
    if (lock := session.config.stash.get(_LOCK, None)) is not None:
        lock.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers take their time, and the first test also pays for the build."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def engine() -> None:
    """An engine; without one, these tests are skipped."""
    if reason := why_not():
        pytest.skip(f"the tests of the stack need Docker and Compose: {reason}")


@pytest.fixture(scope="session")
def make_stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:  # noqa: ARG001
    """Make projects for several tests."""
    with projects(_NAME, tmp_path_factory.mktemp) as make:
        yield make


@pytest.fixture
def new_stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:  # noqa: ARG001
    """Make projects that end with the test: what runs longer takes the time of others, and a network each."""
    with projects(_NAME, tmp_path_factory.mktemp) as make:
        yield make


@pytest.fixture(scope="session")
def started(make_stack: Callable[..., Stack]) -> tuple[Stack, float]:
    """The project that most tests use, and how many seconds it took from nothing to healthy."""
    stack = make_stack("main", _SHORT)
    return stack, stack.up()


@pytest.fixture
def stack(started: tuple[Stack, float]) -> Stack:
    """The project, whole: mended if the last test left it broken."""
    whole, _ = started
    whole.mend()
    return whole
