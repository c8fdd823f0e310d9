"""What the tests of the stack share: one project that most use and mend, and others for special settings."""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from compose import ROOT, Stack, why_not

_NAME = "fullstack-app-test"
_SHORT = Path(__file__).with_name("short.yml")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers take their time, and the first test also pays for the build."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """An engine, and nobody else who runs these tests on it; without one, they are skipped."""
    if reason := why_not():
        pytest.skip(f"the tests of the stack need Docker and Compose: {reason}")
    with (Path(tempfile.gettempdir()) / f"{_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def make_stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:  # noqa: ARG001
    """Make projects; leftovers of an earlier run go first, and all go at the end."""
    made: list[Stack] = []

    def make(kind: str, *files: Path, root: Path = ROOT, **settings: str) -> Stack:
        stack = Stack(f"{_NAME}-{kind}", tmp_path_factory.mktemp(kind), *files, root=root, **settings)
        stack.remove()
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.remove()


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
