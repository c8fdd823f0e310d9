"""Measures sign-in and argon2 alone, in turns."""

import http.client
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import argon2
import orjson
import psycopg

from embedded.ports import HOST
from rig.contenders import Running, ask
from rig.usage import cpu_s

GOAL = 1.1
_PASSWORD = "correct horse battery staple"  # noqa: S105 - of accounts that live as long as this run
_RUN = int(time.time())
_ACCOUNTS = 10
_EACH = 8
"""Sign-ins to one account (limit: a hundred an hour). Each comes from another address: addresses have limits, too."""


@dataclass(frozen=True)
class SigningIn:
    """Medians of our sign-in and of argon2 alone, and our CPU time for each sign-in, in ms."""

    ours_ms: float
    argon2_ms: float
    ours_cpu_ms: float

    @property
    def ratio(self) -> float:
        """The time of a sign-in as a multiple of argon2."""
        return self.ours_ms / self.argon2_ms


def measure(ours: Running, url: str) -> SigningIn:
    """Sign in, and verify the same hash in this process, in turns. Raises: SystemExit"""
    ids = [_made(ours, number) for number in range(_ACCOUNTS)]
    with psycopg.connect(url) as connection:
        kept = connection.execute("SELECT password_hash FROM users WHERE id = %s", [ids[0]]).fetchone()[0]
    clients = [
        http.client.HTTPConnection(HOST, ours.port, timeout=30, source_address=(f"127.0.1.{number + 1}", 0))
        for number in range(_ACCOUNTS)
    ]
    hasher = argon2.PasswordHasher()
    for number, client in enumerate(clients):
        _sign_in(client, number)
        hasher.verify(kept, _PASSWORD)
    before = cpu_s([ours.pid])
    took: list[float] = []
    alone: list[float] = []
    for _ in range(_EACH):
        for number, client in enumerate(clients):
            took.append(_ms(lambda client=client, number=number: _sign_in(client, number)))
            alone.append(_ms(lambda: hasher.verify(kept, _PASSWORD)))
    cpu_ms = 1000 * (cpu_s([ours.pid]) - before) / len(took)
    return SigningIn(statistics.median(took), statistics.median(alone), cpu_ms)


def _ms(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


def _made(ours: Running, number: int) -> str:
    user = {"email": _email(number), "password": _PASSWORD}
    status, answer = ask(ours, "POST", "/api/users", orjson.dumps(user).decode())
    if status != HTTPStatus.CREATED:
        sys.exit(f"Error: an account could not be created: {answer.decode()}")
    return str(orjson.loads(answer)["id"])


def _sign_in(client: http.client.HTTPConnection, number: int) -> None:
    body = orjson.dumps({"email": _email(number), "password": _PASSWORD})
    client.request("POST", "/api/session", body, {"Content-Type": "application/json"})
    response = client.getresponse()
    answer = response.read()
    if response.status != HTTPStatus.CREATED:
        sys.exit(f"Error: sign-in returned {response.status}: {answer.decode()}")


def _email(number: int) -> str:
    return f"signing-in-{_RUN}-{number}@example.org"
