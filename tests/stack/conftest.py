"""What the tests of the stack share: one project that most use and mend, and others for special settings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.compose import Stack
from tests.support.compose_projects import allow_time, engine, make_stack, new_stack, wait_for_other_runs  # noqa: F401

_NAME = "fullstack-app-test"
_SHORT = Path(__file__).with_name("short.yml")


def pytest_sessionstart(session: pytest.Session) -> None:
    wait_for_other_runs(session, _NAME)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    allow_time(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def project_prefix() -> str:
    return _NAME


@pytest.fixture(scope="session")
def started(make_stack: Callable[..., Stack]) -> tuple[Stack, float]:  # noqa: F811
    """The project that most tests use, and how many seconds it took from nothing to healthy."""
    stack = make_stack("main", _SHORT)
    return stack, stack.up()


@pytest.fixture
def stack(started: tuple[Stack, float]) -> Stack:
    """The project, whole: mended if the last test left it broken."""
    whole, _ = started
    whole.mend()
    return whole
