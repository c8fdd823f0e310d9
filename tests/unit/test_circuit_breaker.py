"""The circuit breaker: one thread probes, requests do not."""

import itertools
import threading
import time

import pytest

from app.ops.circuit_breaker import CircuitBreaker
from tests.support.waiting import wait_until


@pytest.fixture
def breakers():
    made: list[CircuitBreaker] = []
    yield made
    for breaker in made:
        breaker.close()


def test_the_circuit_is_closed_until_a_failure(breakers: list[CircuitBreaker]) -> None:
    probes: list[float] = []
    breakers.append(CircuitBreaker("thing", lambda: probes.append(time.monotonic())))
    assert breakers[0].up
    time.sleep(0.05)
    assert probes == []


def test_a_failure_opens_the_circuit_until_a_probe_succeeds(breakers: list[CircuitBreaker]) -> None:
    back, probed = threading.Event(), threading.Event()

    def probe() -> None:
        probed.set()
        if not back.is_set():
            raise ConnectionRefusedError

    breaker = CircuitBreaker("thing", probe)
    breakers.append(breaker)
    breaker.failed(TimeoutError())
    assert not breaker.up
    assert probed.wait(5)
    assert not breaker.up
    back.set()
    wait_until(lambda: breaker.up)


def test_one_background_thread_probes(breakers: list[CircuitBreaker]) -> None:
    probing: list[int] = []
    go_on = threading.Event()

    def probe() -> None:
        probing.append(threading.get_ident())
        go_on.wait(5)

    breaker = CircuitBreaker("thing", probe)
    breakers.append(breaker)
    began = time.monotonic()
    for _ in range(100):
        breaker.failed(TimeoutError())
        assert not breaker.up
    assert time.monotonic() - began < 0.5, "a caller waited for a probe"
    wait_until(lambda: probing)
    go_on.set()
    wait_until(lambda: breaker.up)
    assert len(probing) == 1
    assert threading.get_ident() not in probing


def test_an_unavailable_server_is_probed_at_growing_intervals(breakers: list[CircuitBreaker]) -> None:
    probes: list[float] = []

    def probe() -> None:
        probes.append(time.monotonic())
        raise OSError

    breakers.append(CircuitBreaker("thing", probe))
    breakers[0].failed(OSError())
    time.sleep(1)
    assert 2 <= len(probes) <= 6
    pauses = [later - earlier for earlier, later in itertools.pairwise(probes)]
    # A busy machine makes a pause longer, never shorter.
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.4), strict=False))


def test_a_closed_breaker_stops_probing(breakers: list[CircuitBreaker]) -> None:
    probes: list[float] = []

    def probe() -> None:
        probes.append(time.monotonic())
        raise OSError

    breaker = CircuitBreaker("thing", probe)
    breakers.append(breaker)
    breaker.failed(OSError())
    wait_until(lambda: probes)
    breaker.close()
    time.sleep(0.1)
    number = len(probes)
    time.sleep(0.3)
    assert len(probes) == number


def test_a_closed_breaker_starts_no_probing(breakers: list[CircuitBreaker]) -> None:
    probes: list[float] = []
    breaker = CircuitBreaker("thing", lambda: probes.append(time.monotonic()))
    breakers.append(breaker)
    breaker.close()
    breaker.failed(OSError())
    time.sleep(0.1)
    assert probes == []
