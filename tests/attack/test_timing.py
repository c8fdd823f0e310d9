"""Secrets that response times could tell. Only with MINUTES, because times need many samples.

Requests of two kinds take turns at random. If the time of a response does not depend on the secret, a response of one
kind is slower than one of the other kind in half of all pairs, however noisy the machine is.
"""

import bisect
import http.client
import itertools
import json
import string
import time
import zlib
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.attack.rounds import Rounds
from tests.support.service_process import Service, first_administrator

PASSWORD = "a password of the tests"
MIN_SAMPLES = 100
"""Of each kind. With them, the share of slower responses is within 0.04 of a half, in two of three runs."""
MAX_SHARE = 0.2
"""Distance from a half that fails. It is five of these, and reached by a difference of the time of half its noise."""
_DIGITS = string.digits + string.ascii_letters
_NUMBERS = itertools.count()
Request = tuple[str, str, object, dict[str, str]]


def share_of_slower(first: list[float], second: list[float]) -> float:
    """The share of pairs in which the time of the second kind is longer."""
    ordered = sorted(first)
    return sum(bisect.bisect_left(ordered, one) for one in second) / (len(first) * len(second))


def test_the_share_tells_a_difference_from_none() -> None:
    even, odd = [float(number) for number in range(0, 200, 2)], [float(number) for number in range(1, 200, 2)]
    assert abs(share_of_slower(even, odd) - 0.5) < 0.01
    assert share_of_slower(even, [one + 100 for one in odd]) > 0.5 + MAX_SHARE


def require_alike(service: Service, rounds: Rounds, kinds: dict[str, Callable[[int], Request]]) -> None:
    """Send requests of all kinds, and compare the times of each kind with those of the first."""
    if not rounds.seconds:
        pytest.skip("times need many samples: make test-attack MINUTES=30")
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
        for number in rounds(MIN_SAMPLES):
            statuses = set()
            for kind in rounds.chance.sample(list(kinds), len(kinds)):
                method, path, body, headers = kinds[kind](number)
                sent = None if body is None else json.dumps(body).encode()
                began = time.perf_counter()
                connection.request(method, path, sent, {"Content-Type": "application/json", **headers})
                response = connection.getresponse()
                response.read()
                times[kind].append(time.perf_counter() - began)
                statuses.add(response.status)
            assert len(statuses) == 1, f"the status tells the kinds apart: {statuses}"
    reference, *others = kinds
    shares = {kind: share_of_slower(times[reference], times[kind]) for kind in others}
    assert all(abs(share - 0.5) < MAX_SHARE for share in shares.values()), f"slower than {reference}: {shares}"


@pytest.fixture
def service(serve: Callable[..., Service], empty: Callable[[], None]) -> Service:  # noqa: ARG001 - it is called for its effect
    return serve(WORKERS="1", WRITE_RATE_PER_MINUTE="0", TRUSTED_PROXIES="127.0.0.0/8")


def from_anywhere() -> dict[str, str]:
    """Another address for each request, because sign-ins are limited for each address."""
    number = next(_NUMBERS)
    return {"X-Forwarded-For": f"10.{number // 62500}.{number // 250 % 250}.{number % 250}"}


def test_a_refused_sign_in_does_not_tell_who_exists(service: Service, rounds: Rounds) -> None:
    accounts = 20 + int(rounds.seconds / 20)
    for number in range(accounts):
        service.post("/api/users", {"username": f"known{number}", "password": PASSWORD})
        service.post("/api/users", {"username": f"inactive{number}", "password": PASSWORD, "active": False})
        service.post("/api/users", {"username": f"without{number}"})

    def sign_in(name: str, password: str) -> Callable[[int], Request]:
        return lambda number: (
            "POST", "/api/session", {"username": f"{name}{number % accounts}", "password": password}, from_anywhere()
        )  # fmt: skip

    first_administrator(service)
    wrong = "another of the tests"
    kinds = {
        "a wrong password": sign_in("known", wrong),
        "an unknown user": sign_in("unknown", PASSWORD),
        "an inactive user": sign_in("inactive", PASSWORD),
        "a user without a password": sign_in("without", PASSWORD),
        "half of the password": sign_in("known", PASSWORD[:11] + "x" * 12),
    }
    require_alike(service, rounds, kinds)


def token_of(body: str) -> str:
    """A token with the right checksum, as docs/api.md and secret scanners know it."""
    number, checksum = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_DIGITS))
        checksum = _DIGITS[digit] + checksum
    return f"fsa_{body}{checksum}"


def test_a_wrong_token_does_not_tell_how_much_of_it_is_right(service: Service, rounds: Rounds) -> None:
    admin = first_administrator(service)
    right = admin["Authorization"].removeprefix("Bearer fsa_")[:43]
    assert token_of(right) == admin["Authorization"].removeprefix("Bearer ")

    def with_right(characters: int) -> Callable[[int], Request]:
        def request(_: int) -> Request:
            rest = "".join(rounds.chance.choices(_DIGITS, k=43 - characters))
            if right.endswith(rest):
                return request(0)
            return "GET", "/api/me", None, {"Authorization": f"Bearer {token_of(right[:characters] + rest)}"}

        return request

    kinds = {f"{characters} right characters": with_right(characters) for characters in (0, 1, 20, 42)}
    require_alike(service, rounds, kinds)


def test_an_idempotency_key_does_not_tell_how_much_of_a_password_is_right(service: Service, rounds: Rounds) -> None:
    admin = first_administrator(service)
    created = {"username": "once", "password": PASSWORD}
    headers = {**admin, "Idempotency-Key": "once"}
    assert service.post("/api/users", created, headers=headers).status == 201

    def repeat(password: str) -> Callable[[int], Request]:
        return lambda _: ("POST", "/api/users", {**created, "password": password}, headers)

    kinds = {"no right character": repeat("x" * len(PASSWORD)), "all but the last": repeat(PASSWORD[:-1] + "x")}
    require_alike(service, rounds, kinds)
