"""Measures single requests of variants of the service, without a server: see rig.single_requests."""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import seed
from redis import Redis

from app.config import load_settings
from app.db.migrate import prepare
from embedded import Stack, stack
from embedded.ports import free_port
from embedded.service import Service
from rig import ROOT
from rig.api import ADMIN, await_ready, create_token, sign_in
from rig.generated_users import GeneratedUsers
from rig.ground import COMMON_WORDS
from rig.report import table
from rig.single_requests import BATCH, LARGE_BATCH
from rig.starting import ENVIRON
from rig.variants import Variant

_USERS = 100_000
_EACH = 100 * BATCH
"""Requests of each kind that one thread sends."""
_AT_ONCE = 10 * LARGE_BATCH
"""Requests of each kind that sixteen threads send."""
_EQUAL = LARGE_BATCH // 2
"""How many equal searches follow each other."""
_HANGING = 9
_PATH = "/api/users"

Results = dict[str, Any]
Request = tuple[str, ...]


@dataclass(frozen=True)
class _Subject:
    """The servers, an administrator's token, and values for requests."""

    servers: Stack
    settings: dict[str, str]
    token: str
    ids: list[str]
    usernames: list[str]


def measure(variants: Sequence[Variant], postgres: int, rounds: int) -> str:
    """Tables with a line for each variant. In each round, all variants run once, in random order."""
    chance = random.Random(1)
    results: dict[Variant, list[Results]] = {variant: [] for variant in variants}
    with _subject(postgres) as subject:
        for number in range(rounds):
            for variant in chance.sample(variants, len(variants)):
                sys.stderr.write(f"round {number + 1}: {variant.title}\n")
                results[variant].append(_run(variant, subject))
    return "\n\n".join(
        (
            _table("CPU µs of the service", {one: _least(runs, "own") for one, runs in results.items()}),
            _table("CPU µs of PostgreSQL", {one: _least(runs, "database") for one, runs in results.items()}),
            table(
                ("search for a common word while Redis hangs", "ms"),
                [(one.title, min(run["hanging_ms"] for run in runs)) for one, runs in results.items()],
            ),
        )
    )


def _least(runs: Sequence[Results], part: str) -> dict[str, float]:
    return {kind: min(run[part][kind] for run in runs) for kind in runs[0][part]}


def _table(title: str, results: dict[Variant, dict[str, float]]) -> str:
    kinds = list(next(iter(results.values())))
    return table((title, *kinds), [(one.title, *(round(of[kind]) for kind in kinds)) for one, of in results.items()])


@contextmanager
def _subject(postgres: int) -> Iterator[_Subject]:
    """Run both servers, with a database of random users."""
    with tempfile.TemporaryDirectory() as name, stack(Path(name), postgres) as servers:
        settings = {
            **ENVIRON,
            "DATABASE_URL": servers.postgres.url,
            "REDIS_URL": servers.redis.url,
            "LOG_LEVEL": "warning",
            "WORKERS": "1",
            "PORT": str(free_port()),
            "WRITE_RATE_PER_MINUTE": str(10**9),
            "ADMIN_EMAIL": ADMIN["email"],
            "ADMIN_PASSWORD": ADMIN["password"],
        }
        prepare(load_settings({}, database_url=servers.postgres.url))
        seed.fill(servers.postgres.url, GeneratedUsers(_USERS))
        with _service(settings) as port:
            token = create_token(port, sign_in(port), "bench")["Authorization"].split()[1]
        yield _Subject(servers, settings, token, *_values(servers.postgres.url))


@contextmanager
def _service(settings: dict[str, str]) -> Iterator[int]:
    port = int(settings["PORT"])
    service = Service([sys.executable, "-m", "app"], port, settings, ROOT)
    try:
        await_ready(service)
        yield port
    finally:
        service.stop()


def _values(url: str) -> tuple[list[str], list[str]]:
    """Ids of random users, and usernames that are one rare word."""
    users = "FROM users WHERE deleted_at IS NULL"
    with psycopg.connect(url, autocommit=True) as connection:
        ids = connection.execute(
            f"SELECT id::text {users} ORDER BY md5(id::text) LIMIT {2 * _EACH + _AT_ONCE}"
        ).fetchall()
        usernames = connection.execute(
            rf"SELECT username {users} AND username ~ '^u\d+[a-z]{{8}}$' ORDER BY md5(id::text) LIMIT {_EACH}"
        ).fetchall()
    return [row[0] for row in ids], [row[0] for row in usernames]


def _run(variant: Variant, subject: _Subject) -> Results:
    """The results of one process. Redis is empty when it starts."""
    Redis.from_url(subject.servers.redis.url).flushall()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as questions:
        json.dump(_questions(subject), questions)
        questions.flush()
        command = [sys.executable, "-m", "rig.single_requests", variant.key, questions.name]
        ran = subprocess.run(
            command, env=subject.settings, cwd=ROOT / "bench", capture_output=True, text=True, check=False
        )
    if ran.returncode != 0:
        sys.exit(f"Error: {variant.title}: {ran.stderr}")
    return json.loads(ran.stdout)


def _questions(subject: _Subject) -> dict[str, Any]:
    """The requests of each kind."""
    users = [("GET", f"{_PATH}/{user_id}", "") for user_id in subject.ids]
    stem = f"alone-{time.time_ns():x}"
    return {
        "token": subject.token,
        "postgres": subject.servers.postgres.pid,
        "redis": subject.servers.redis.pid,
        "alone": {
            "user, cached": users[:BATCH] * (_EACH // BATCH),
            "user": users[:_EACH],
            "page, cached": [("GET", _PATH, "")] * _EACH,
            "search, each word once": [_search(name) for name in subject.usernames[:_EACH]],
            "search in Redis": [(*_search("maria"), f"host-{number}") for number in range(_EACH)],
            "POST": _posts(stem, _EACH),
            "PATCH": [("PATCH", path, json.dumps({"name": stem})) for _, path, _ in users[_EACH : 2 * _EACH]],
        },
        "at once": {
            "16: POST": _posts(f"{stem}-at-once", _AT_ONCE),
            "16: user": users[2 * _EACH :],
            "16: equal searches": [
                _search(f"{COMMON_WORDS[number // _EQUAL]} {'abcdefghi'[number // _EQUAL % 9]}")
                for number in range(_AT_ONCE)
            ],
        },
        "without redis": [_search(f"{word} s") for word in COMMON_WORDS[-_HANGING:]],
    }


def _search(words: str) -> Request:
    return ("GET", f"{_PATH}?q={quote(words)}", "")


def _posts(stem: str, count: int) -> list[Request]:
    names = [f"{stem}-{number}" for number in range(count)]
    return [
        ("POST", _PATH, json.dumps({"username": name, "email": f"{name}@example.com", "name": "Some One"}))
        for name in names
    ]
