"""What the tests of the production overlays share: `make test-production`.

Each project has containers, networks, volumes and ports of its own, which are removed after the test.
"""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from tests.stack.compose import Stack, projects, why_not
from tests.stack.production_stack import ProductionStack, build_caddy

_NAME = "fullstack-app-production"
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
        pytest.skip(f"the tests of production need Docker and Compose: {reason}")


@pytest.fixture(scope="session")
def caddy_image(engine: None) -> None:  # noqa: ARG001
    """The image that stands in for the one of Caddy."""
    build_caddy()


@pytest.fixture(scope="session")
def production(make_stack: Callable[..., Stack], caddy_image: None) -> ProductionStack:  # noqa: ARG001
    """The stack with docker-compose.prod.yml that most tests use: started from nothing, without a signed-in user."""
    stack = make_stack("main", of=ProductionStack, WRITE_RATE_PER_MINUTE="0")
    assert isinstance(stack, ProductionStack)
    stack.up()
    return stack


@pytest.fixture(scope="session")
def make_stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:  # noqa: ARG001
    """Make projects for several tests."""
    with projects(_NAME, tmp_path_factory.mktemp) as make:
        yield make


@pytest.fixture
def new_stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:  # noqa: ARG001
    """Make projects that end with the test."""
    with projects(_NAME, tmp_path_factory.mktemp) as make:
        yield make
