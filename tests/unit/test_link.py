"""The breaker: requests never probe, and one thread does."""

import itertools
import threading
import time

import pytest

from app.infra.link import Link
from tests.support.waiting import wait_until


@pytest.fixture
def links():
    made: list[Link] = []
    yield made
    for link in made:
        link.close()


def test_a_link_is_up_until_somebody_says_otherwise(links: list[Link]) -> None:
    probes: list[float] = []
    links.append(Link("thing", lambda: probes.append(time.monotonic())))
    assert links[0].up
    time.sleep(0.05)
    assert probes == []


def test_a_failure_takes_it_down_until_a_probe_succeeds(links: list[Link]) -> None:
    back = threading.Event()

    def probe() -> None:
        if not back.is_set():
            raise ConnectionRefusedError

    link = Link("thing", probe)
    links.append(link)
    link.failed(TimeoutError())
    assert not link.up
    wait_until(lambda: link.error == "ConnectionRefusedError")
    assert not link.up
    back.set()
    wait_until(lambda: link.up)
    assert link.error == ""


def test_probing_is_done_by_one_thread_that_is_not_the_callers(links: list[Link]) -> None:
    probing: list[int] = []
    go_on = threading.Event()

    def probe() -> None:
        probing.append(threading.get_ident())
        go_on.wait(5)

    link = Link("thing", probe)
    links.append(link)
    began = time.monotonic()
    for _ in range(100):
        link.failed(TimeoutError())
        assert not link.up
    assert time.monotonic() - began < 0.5, "a caller waited for a probe"
    wait_until(lambda: probing)
    go_on.set()
    wait_until(lambda: link.up)
    assert len(probing) == 1
    assert threading.get_ident() not in probing


def test_a_thing_that_stays_away_is_probed_ever_more_rarely(links: list[Link]) -> None:
    probes: list[float] = []

    def probe() -> None:
        probes.append(time.monotonic())
        raise OSError

    links.append(Link("thing", probe))
    links[0].failed(OSError())
    time.sleep(1)
    assert 2 <= len(probes) <= 6
    pauses = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert pauses == sorted(pauses)


def test_a_closed_link_stops_probing(links: list[Link]) -> None:
    probes: list[float] = []

    def probe() -> None:
        probes.append(time.monotonic())
        raise OSError

    link = Link("thing", probe)
    links.append(link)
    link.failed(OSError())
    wait_until(lambda: probes)
    link.close()
    time.sleep(0.1)
    number = len(probes)
    time.sleep(0.3)
    assert len(probes) == number


def test_a_closed_link_starts_no_probing(links: list[Link]) -> None:
    probes: list[float] = []
    link = Link("thing", lambda: probes.append(time.monotonic()))
    links.append(link)
    link.close()
    link.failed(OSError())
    time.sleep(0.1)
    assert probes == []
