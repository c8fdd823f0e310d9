"""What tests that break Redis share."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from embedded import Redis
from tests.support.couriers import Host, hear_all, opened
from tests.support.waiting import wait_until


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def hosts(own_redis: Redis, tmp_path: Path) -> Iterator[list[Host]]:
    """Two hosts on one Redis, whose memory may be used, and which have told each other all that there is to tell."""
    with ExitStack() as stack:
        made = [opened(stack, own_redis, tmp_path / name) for name in "ab"]
        for host in made:
            wait_until(lambda host=host: host.memory.usable)
        for host in made:
            hear_all(made, host)
        yield made
