"""Fixtures of the tests that break servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import Redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server
