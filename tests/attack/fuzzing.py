"""Runs properties and state machines of Hypothesis with the seeds and the time of a test; and what fuzzers need."""

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import psycopg
import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from app.http.services import services_of
from tests.attack.rounds import Rounds
from tests.support.leases import grant_lease
from tests.support.secured_app import SecuredApp


def fuzz(rounds: Rounds, check: Callable[[Any], object], values: st.SearchStrategy[Any], examples: int = 50) -> None:
    """Check a property of `examples` values in each round."""
    for _ in rounds(1):
        run = given(value=values)(lambda value: _ignore(check(value)))
        seed(rounds.chance.randrange(2**32))(_settings(examples)(run))()


def fuzz_machine(rounds: Rounds, machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Run `examples` programs of a state machine in each round. A program is not shrunk, which takes minutes."""
    for _ in rounds(1):
        chosen = settings(_settings(examples), stateful_step_count=steps, phases=[Phase.generate])
        run_state_machine_as_test(seed(rounds.chance.randrange(2**32))(machine), settings=chosen)


def _ignore(_: object) -> None:
    """Hypothesis refuses properties that return a value."""


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


@pytest.fixture(scope="session")
def fuzzed_app(make_app: Callable[..., Flask]) -> Flask:
    """An application behind a trusted proxy, which limits no writes."""
    made = make_app(write_rate_per_minute=0, trusted_proxies="127.0.0.0/8")
    grant_lease(made)
    return made


@pytest.fixture
def new_site(
    fuzzed_app: Flask,
    empty: Callable[[], None],  # noqa: ARG001 - it is called for its effect
    without_refusal_delay: None,  # noqa: ARG001 - it is called for its effect
    database: psycopg.Connection[Any],
) -> Callable[[], SecuredApp]:
    """Empties `fuzzed_app`, and creates an administrator; at each call."""
    services = services_of(fuzzed_app)

    def start() -> SecuredApp:
        # TRUNCATE would take 40 ms.
        database.execute("SET fullstack_app.internal = 'yes'")
        for emptied in ("DELETE FROM users", "DELETE FROM history", "DELETE FROM idempotency_keys"):
            database.execute(emptied)
        services.state.is_secured = False
        services.generations.invalidate()
        return SecuredApp(fuzzed_app)

    return start


@pytest.fixture
def no_errors_logged(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The service logs no error during the test."""
    yield
    written = capfd.readouterr()
    lines = [line for line in written.err.splitlines() if '"level":"error"' in line or "Traceback" in line]
    assert lines == []
