"""Measures the cost of authentication: CPU time of a request with a token, with a session, and in setup mode.

    python bench/auth.py              CPU per request and ratios, then the time of a sign-in

Two services, one in setup mode and one with an administrator, share one PostgreSQL and one Redis. Each has one
worker, and requests take turns over kept connections. CPU time is that of the service's processes. The goal is a
ratio of at most 1.3.
"""

import argparse
import http.client
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import psutil
import psycopg
from rig import ROOT
from rig.api import await_ready
from rig.report import conditions, table
from rig.usage import cpu_s

from embedded import stack
from embedded.ports import HOST, free_port
from embedded.service import Service

GOAL = 1.3
_ADMIN = {"email": "ada@example.org", "password": "correct horse battery staple"}
_USERS = 200
_ACCOUNTS = 10  # that are signed in to in turn, since attempts on one are limited


@dataclass(frozen=True)
class Way:
    """One kind of access: a service, its process, and the headers that authenticate."""

    name: str
    client: http.client.HTTPConnection
    process: psutil.Process
    headers: dict[str, str]
    ids: list[str]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send a request. Returns status and body."""
        headers = {**self.headers, "Content-Type": "application/json", "Origin": f"http://{HOST}:{self.client.port}"}
        self.client.request(method, path, orjson.dumps(body) if body is not None else None, headers)
        response = self.client.getresponse()
        return response.status, response.read()

    def cpu_s(self) -> float:
        """CPU time that the service has used so far."""
        return cpu_s([self.process.pid])


def main() -> None:
    """Parse the command line, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each kind of request (default: 15)")
    parser.add_argument("--requests", type=int, default=400, help="requests in each round (default: 400)")
    parser.add_argument("--sign-ins", type=int, default=200, help="sign-ins of each kind (default: 200)")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        stack(Path(folder), options.postgres) as both,
        ExitStack() as services,
    ):
        databases = [_database(both.postgres.url, name) for name in ("setup_mode", "secured")]
        setup_mode, secured = (
            _served(services, url, f"{both.redis.url.rsplit('/', 1)[0]}/{number}", admin=bool(number))
            for number, url in enumerate(databases)
        )
        ways = _ways(setup_mode, secured)
        print(conditions(f"{options.rounds} rounds of {options.requests} requests"), flush=True)
        print(f"\n{_prices(ways, options.rounds, options.requests)}\n", flush=True)
        print(f"{_sign_ins(ways[0], options.sign_ins)}\n\n{conditions('at the end')}")


def _database(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _served(services: ExitStack, url: str, redis_url: str, *, admin: bool) -> tuple[int, psutil.Process]:
    port = free_port()
    own = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    env = {
        **own,
        "DATABASE_URL": url,
        "REDIS_URL": redis_url,
        "PORT": str(port),
        "LOG_LEVEL": "warning",
        "WORKERS": "1",
        "WRITE_RATE_PER_MINUTE": "0",
        "TRUSTED_PROXIES": "127.0.0.0/8",
    }
    if admin:
        env |= {"ADMIN_EMAIL": _ADMIN["email"], "ADMIN_PASSWORD": _ADMIN["password"]}
    service = Service([sys.executable, "-m", "app"], port, env, ROOT)
    services.callback(service.stop)
    await_ready(service)
    return port, psutil.Process(service.pid)


def _ways(setup_mode: tuple[int, psutil.Process], secured: tuple[int, psutil.Process]) -> list[Way]:
    """Setup mode, by token and by session; the last two use the same service."""
    anonymous = Way("secured", http.client.HTTPConnection(HOST, secured[0], timeout=30), secured[1], {}, [])
    anonymous.client.request("POST", "/api/session", orjson.dumps(_ADMIN), {"Content-Type": "application/json"})
    answer = anonymous.client.getresponse()
    answer.read()
    cookie = {"Cookie": (answer.headers["Set-Cookie"] or "").partition(";")[0]}
    session = Way("session", anonymous.client, secured[1], cookie, [])
    made = orjson.loads(session.ask("POST", "/api/tokens", {"name": "bench", "role": "admin"})[1])
    token = {"Authorization": f"Bearer {made['token']}"}
    ways = [
        Way("setup mode", http.client.HTTPConnection(HOST, setup_mode[0], timeout=30), setup_mode[1], {}, []),
        Way("token", http.client.HTTPConnection(HOST, secured[0], timeout=30), secured[1], token, []),
        session,
    ]
    for way in ways[:2]:
        for number in range(_USERS):
            status, body = way.ask("POST", "/api/users", {"email": f"user{number}@example.org", "name": "Some One"})
            if status != http.HTTPStatus.CREATED:
                sys.exit(f"Error: a user could not be created: {body.decode()}")
            way.ids.append(orjson.loads(body)["id"])
    session.ids.extend(ways[1].ids)
    return ways


def _prices(ways: list[Way], rounds: int, requests: int) -> str:
    chance = random.Random(1)
    rows = []
    for what in ("one user", "a page of 50"):
        spent: dict[str, list[float]] = {way.name: [] for way in ways}
        for number in range(-2, rounds):
            for way in chance.sample(ways, len(ways)):
                before = way.cpu_s()
                for _ in range(requests):
                    path = f"/api/users/{chance.choice(way.ids)}" if what == "one user" else "/api/users"
                    status, body = way.ask("GET", path)
                    if status != http.HTTPStatus.OK:
                        sys.exit(f"Error: {path} gave {status}: {body.decode()}")
                if number >= 0:
                    spent[way.name].append(1e6 * (way.cpu_s() - before) / requests)
        medians = {name: statistics.median(times) for name, times in spent.items()}
        for name, median in medians.items():
            ratio = median / medians["setup mode"]
            verdict = None if name == "setup mode" else "PASS" if ratio <= GOAL else "FAIL"
            rows.append((f"GET {what}, {name}", round(median), ratio, verdict))
    return table(("request", "CPU µs", "ratio", "goal"), rows)


def _sign_ins(way: Way, times: int) -> str:
    """The time of a sign-in for each kind of error: it must not show whether a user exists."""
    right, wrong = _ADMIN["password"], "something else entirely"
    kinds = {
        "wrong password": ("known", wrong),
        "inactive user": ("inactive", right),
        "unknown user": ("unknown", right),
        "all is right": ("known", right),
    }
    for name in ("known", "inactive"):
        for number in range(_ACCOUNTS):
            user = {"email": f"{name}{number}@example.org", "password": right, "active": name == "known"}
            way.ask("POST", "/api/users", user)
    chance = random.Random(1)
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(times):
        for kind in chance.sample(list(kinds), len(kinds)):
            name, password = kinds[kind]
            # From another address each time, so that rate limits do not apply.
            way.headers["X-Forwarded-For"] = (
                f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}"
            )
            began = time.perf_counter()
            email = f"{name}{number % _ACCOUNTS}@example.org"
            status, body = way.ask("POST", "/api/session", {"email": email, "password": password})
            took[kind].append(1000 * (time.perf_counter() - began))
            if status != (http.HTTPStatus.CREATED if kind == "all is right" else http.HTTPStatus.UNAUTHORIZED):
                sys.exit(f"Error: sign-in ({kind}) gave {status}: {body.decode()}")
    reference = statistics.median(took["wrong password"])
    rows = []
    for kind, ms in took.items():
        deciles = statistics.quantiles(ms, n=10)
        rows.append((kind, deciles[0], statistics.median(ms), deciles[-1], statistics.median(ms) / reference))
    return table(("signing in", "10 % ms", "median ms", "90 % ms", "to a wrong password"), rows)


if __name__ == "__main__":
    main()
