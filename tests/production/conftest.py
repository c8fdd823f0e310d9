"""What the tests of the production overlays share: `make test-production`.

Each project has containers, networks, volumes and ports of its own, which are removed after the test.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.compose import Stack
from tests.stack.production_stack import ProductionStack, build_caddy
from tests.support.compose_projects import allow_time, engine, make_stack, new_stack, wait_for_other_runs  # noqa: F401

_NAME = "fullstack-app-production"


def pytest_sessionstart(session: pytest.Session) -> None:
    wait_for_other_runs(session, _NAME)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    allow_time(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def project_prefix() -> str:
    return _NAME


@pytest.fixture(scope="session")
def caddy_image(engine: None) -> None:  # noqa: ARG001, F811
    """The image that stands in for the one of Caddy."""
    build_caddy()


@pytest.fixture(scope="session")
def production(make_stack: Callable[..., Stack], caddy_image: None) -> ProductionStack:  # noqa: ARG001, F811
    """The stack with docker-compose.prod.yml that most tests use: started from nothing, without a signed-in user."""
    stack = make_stack("main", of=ProductionStack, WRITE_RATE_PER_MINUTE="0")
    assert isinstance(stack, ProductionStack)
    stack.up()
    return stack
