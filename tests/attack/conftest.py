"""Attacks on the service: `make test-attack`.

- `test_authorization_*`: every route, method, credential and target, from the URL map
- `test_http_*`: malformed HTTP, against the service alone and behind Caddy
- `test_race_*`: every pair of writes to one user
- `test_owasp.py`: the OWASP API Security Top 10 2023
- `test_timing.py`: secrets that response times could tell
- `test_fuzz_*`: sequences of requests against a model of users, parsers, and hostile values in every field

The tests know the service by HTTP, SQL and docs/. A test with random choices takes `rounds`, and is run once for each
seed: SEED if it is set, otherwise a fixed seed and a new one. Without MINUTES it makes the number of rounds that it
asks for. With MINUTES, all such tests together take about MINUTES, in equal shares.
"""

import os
import random
import secrets
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from embedded import Stack
from tests.attack.fuzzing import fuzzed_app, new_site, no_errors_logged  # noqa: F401 - fixtures
from tests.attack.rounds import Rounds
from tests.attack.world import World
from tests.support.leases import grant_lease

FIXED_SEED = 20
MARGIN_S = 300
"""Time that a test may take beside its rounds."""
_SHARE_S = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001 - pytest gives it
    """Choose the random seed. The workers of pytest-xdist inherit it."""
    os.environ.setdefault("ATTACK_SEEDS", os.environ.get("SEED") or f"{FIXED_SEED} {secrets.randbelow(2**32)}")


def pytest_report_header() -> str:
    """Print how to repeat the run."""
    return f"seeds {os.environ['ATTACK_SEEDS']}; repeat with: make test-attack SEED=..."


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with random choices once for each seed."""
    if "rounds" in metafunc.fixturenames:
        metafunc.parametrize("seed", [int(seed) for seed in os.environ["ATTACK_SEEDS"].split()])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Share MINUTES among the tests with random choices."""
    random_tests = [item for item in items if "rounds" in getattr(item, "fixturenames", ())]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    seconds = 60 * float(os.environ.get("MINUTES") or 0) * workers / max(1, len(random_tests))
    config.stash[_SHARE_S] = seconds
    for item in random_tests:
        item.add_marker(pytest.mark.timeout(seconds + MARGIN_S))


@pytest.fixture
def rounds(request: pytest.FixtureRequest, seed: int) -> Rounds:
    """The rounds of this test, see Rounds."""
    chance = random.Random(f"{seed} {request.node.name}")  # noqa: S311 - it chooses tests, no secrets
    return Rounds(seed, chance, request.config.stash[_SHARE_S])


@pytest.fixture(scope="module")
def world(servers: Stack, make_app: Callable[..., Flask]) -> Iterator[World]:
    """Users of each role and their credentials, in an application of its own."""
    app = make_app(write_rate_per_minute=0)
    grant_lease(app)
    made = World(app, servers)
    yield made
    made.close()
