"""Every pair of writes to one user at the same time, on two hosts: the result is that of one order or of the other."""

import functools
import itertools
import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import psycopg
import pytest
import redis

from embedded import Stack
from tests.attack.race_actions import ACTIONS, Races, Target
from tests.attack.rounds import Rounds
from tests.support.concurrency import at_once
from tests.support.empty_tables import INTERNAL, empty_tables
from tests.support.secured_app import PASSWORD
from tests.support.service_process import Service, first_administrator

PAIRS = list(itertools.combinations_with_replacement(ACTIONS, 2))
FORM = "application/x-www-form-urlencoded"
SETTLED_S = 2.0
"""Time after which both hosts surely show the last state."""
UNDECIDED = 3
"""Attempts at a pair of which a write was answered with 503."""
Pair = tuple[str, str]
Result = tuple[int, int, tuple[object, ...]]
"""The statuses of both writes, and the state that they leave."""


@pytest.fixture(scope="module")
def races(serve_all: Callable[..., Service], servers: Stack) -> Iterator[Races]:
    with psycopg.connect(servers.postgres.url, autocommit=True, options=INTERNAL) as database:
        with redis.Redis.from_url(servers.redis.url) as client:
            client.flushall()
        empty_tables(database)
        env = {"WORKERS": "1", "WRITE_RATE_PER_MINUTE": "0", "TRUSTED_PROXIES": "127.0.0.0/8"}
        first, second = (serve_all(**env) for _ in range(2))
        admin = first_administrator(first)
        signed_in = first.post("/api/session", {"username": "root", "password": PASSWORD})
        cookie = str(signed_in.headers["Set-Cookie"]).partition(";")[0]
        browser = {
            "Cookie": cookie,
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        yield Races((first, second), database, admin, browser)
        for service in (first, second):
            assert '"level":"error"' not in service.text
            service.kill()
        # A remaining administrator would end the setup mode of services that later tests start.
        empty_tables(database)


@functools.cache
def serial_results(races: Races, pair: Pair) -> list[Result]:
    """The results of the pair, one write after the other, in both orders."""
    results: list[Result] = []
    for order in ((0, 1), (1, 0)):
        target, statuses = races.make_target(pair), [0, 0]
        for index in order:
            statuses[index] = ACTIONS[pair[index]](races.hosts[0], target)
        results.append((statuses[0], statuses[1], races.state_of(target)))
    # A sign-in that was recorded before its user was deleted may be answered afterwards.
    late = [(first, 401, state) for first, second, state in results if (pair[1], second) == ("sign in", 201)]
    return results + late


def decided_status(name: str, service: Service, target: Target) -> int:
    """The status of a write. After 503 it is sent again, as a client does: the other write may still be running."""
    deadline = time.monotonic() + SETTLED_S
    while (status := ACTIONS[name](service, target)) == HTTPStatus.SERVICE_UNAVAILABLE and time.monotonic() < deadline:
        time.sleep(0.02)
    return status


def concurrent_result(races: Races, pair: Pair, rounds: Rounds) -> Result:
    """The result of the pair at the same time, on two hosts, or on two connections to one host."""
    hosts = rounds.chance.choice([(0, 1), (1, 0), (0, 0)])
    target = races.make_target(pair)
    services = (races.hosts[host] for host in hosts)
    first, second = at_once([functools.partial(decided_status, name, next(services), target) for name in pair])
    expected = serial_results(races, pair)
    deadline = time.monotonic() + SETTLED_S
    # The list of sessions may be that of 100 ms ago, if the other host ended them.
    while (result := (first, second, races.state_of(target))) not in expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


def problem_of(races: Races, pair: Pair, rounds: Rounds) -> str | None:
    """What is wrong with the result of the pair, or None."""
    for _ in range(UNDECIDED):
        result = concurrent_result(races, pair, rounds)
        if result in serial_results(races, pair):
            return None
        # A write that waited too long for the other one is refused, and has to be repeated.
        if 503 not in result[:2]:
            break
    return f"{pair}: {result}\n  is none of {json.dumps(serial_results(races, pair), indent=2)}"


@pytest.mark.parametrize("name", ACTIONS)
def test_two_writes_at_once_are_as_good_as_one_after_the_other(races: Races, name: str, rounds: Rounds) -> None:
    pairs = [pair for pair in PAIRS if pair[0] == name]
    problems = [problem_of(races, pair, rounds) for _ in rounds(1) for pair in pairs]
    wrong = [problem for problem in problems if problem is not None]
    assert not wrong, "\n".join(wrong)
