"""A full Redis drops cached answers, but no sessions and no counters."""

import itertools
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from flask import Flask

from app.auth.counters import FixedWindow, RedisCounters
from app.auth.session_store import SessionStore
from app.cache.generations import clock_ns
from app.cache.known_changes import PollResult, Snapshot
from app.cache.redis_answers import RedisAnswers
from app.config import load_settings
from app.errors import Unavailable
from app.http.services import services_of
from embedded import Redis
from tests.support.leases import grant_lease
from tests.support.secured_app import PASSWORD, SecuredApp

pytestmark = pytest.mark.usefixtures("without_refusal_delay")

ROOT = Path(__file__).resolve().parents[2]
WRONG, RIGHT = {"username": "ada", "password": "a wrong guess"}, {"username": "ada", "password": PASSWORD}
HERE = "198.51.100.1"


def _settings_of_the_stack() -> dict[str, str]:
    """What the compose file starts Redis with, but for its size and password."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    words = [line.strip().removeprefix("- ").strip('"') for line in text[text.index("- redis-server") :].splitlines()]
    found = {}
    for name, value in itertools.pairwise(words):
        if name.startswith("--max"):
            found[name.removeprefix("--")] = value
    assert found.keys() == {"maxmemory", "maxmemory-policy", "maxmemory-samples"}
    return {**found, "maxmemory": "8mb"}


@pytest.fixture
def small_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis", settings=_settings_of_the_stack()) as server:
        yield server


@pytest.fixture
def secured_app(make_app: Callable[..., Flask], empty: Callable[[], None], small_redis: Redis) -> SecuredApp:  # noqa: ARG001
    return SecuredApp(make_app(redis_url=small_redis.url))


def _guess(secured_app: SecuredApp) -> int:
    return secured_app.sign_in(WRONG, HERE).status_code


def _evicted(client: redis.Redis) -> int:
    return int(client.info("stats")["evicted_keys"])


@pytest.mark.parametrize("ttl_s", [1, 60, 86400])
def test_a_full_redis_evicts_cached_answers_but_no_sessions_and_no_counters(
    secured_app: SecuredApp, small_redis: Redis, ttl_s: int
) -> None:
    """For any time to live of the cached pages."""
    user = secured_app.create_user(username="ada", password=PASSWORD)
    clients = [secured_app.session_client(secured_app.create_user()) for _ in range(30)]
    assert [_guess(secured_app) for _ in range(4)] == [401] * 4
    services = services_of(secured_app.app)
    settings = load_settings({}, redis_url=small_redis.url, redis_timeout_ms=500, cache_ttl_s=ttl_s)
    pages = RedisAnswers(settings, services.generations, services.known_changes)
    grant_lease(secured_app.app)
    services.known_changes.publish(PollResult(clock_ns(), "test", Snapshot(4, 4, ()), (), 3))
    with redis.Redis.from_url(small_redis.url) as redis_client:
        number = 0
        while _evicted(redis_client) < 500:
            pages.get_or_compute(f"page:{number}", lambda: secrets.token_bytes(20_000))
            number += 1
        # Counts of many others, too, whose windows end later.
        counts = RedisCounters(redis_client)
        for other in range(2000):
            counts.increment([FixedWindow(f"fsa:limit:other:{other}:86400", 5, 86400)])
            pages.get_or_compute(f"page:{number + other}", lambda: secrets.token_bytes(20_000))
    assert all(client.get("/me").status_code == 200 for client in clients)
    assert all(client.patch("/me", {"name": "Bob"}).status_code == 200 for client in clients)
    assert _guess(secured_app) == 401
    assert _guess(secured_app) == 429, "none of the five guesses was forgotten"
    assert secured_app.session_client(user).get("/me").status_code == 200


def test_a_redis_full_of_sessions_still_limits_guesses_and_serves_other_requests(secured_app: SecuredApp) -> None:
    """Guesses are counted in the process. New sessions are refused, existing ones work."""
    secured_app.create_user(username="ada", password=PASSWORD)
    client = secured_app.session_client(secured_app.create_user())
    store = SessionStore(services_of(secured_app.app).settings)

    def fill() -> None:
        while True:
            session_id, agent, now = secrets.token_hex(32), secrets.token_hex(1000), time.time()
            store.create(store.new_session(session_id, uuid.uuid4(), "member", 1, now, now, None, agent))

    with pytest.raises(Unavailable, match="no memory"):
        fill()
    store.close()
    statuses = [_guess(secured_app) for _ in range(12)]
    assert statuses[:5] == [401] * 5
    assert set(statuses[5:]) == {429}
    assert secured_app.sign_in(RIGHT, "203.0.113.2").status_code in (201, 503), "there may be room for one more"
    for number in range(20):
        assert client.patch("/me", {"name": f"Bob {number}"}).status_code == 200
        assert secured_app.admin.get(f"/users?q=bob&sort=name&attributes.n={number}").status_code == 200
        assert secured_app.admin.get("/users?q=bob").json[0]["name"] == f"Bob {number}"
    assert secured_app.anonymous.get("/health").json["status"] == "ok", "no breaker opened"


def test_counters_expire_with_their_windows(small_redis: Redis) -> None:
    """Without a TTL, too."""
    with redis.Redis.from_url(small_redis.url) as client:
        counts = RedisCounters(client)
        for number in range(50):
            counts.increment([FixedWindow(f"fsa:limit:{number}:1", 5, 1)])
        assert counts.increment([FixedWindow("fsa:limit:0:1", 5, 1)]).value == 2
        time.sleep(1.1)
        assert counts.increment([FixedWindow("fsa:limit:0:1", 5, 1)]).value == 1
        for _ in range(5):
            counts.increment([FixedWindow("fsa:limit:last:60", 5, 60)])
        assert client.dbsize() <= 3


def test_above_the_maximum_the_counters_that_expire_first_are_deleted(small_redis: Redis) -> None:
    """Otherwise a flood of guesses could fill Redis."""
    with redis.Redis.from_url(small_redis.url) as client:
        counts = RedisCounters(client, max_counters=100)
        counts.increment([FixedWindow("fsa:limit:long:86400", 5, 86400)])
        for number in range(1000):
            counts.increment([FixedWindow(f"fsa:limit:{number}:60", 5, 60)])
        assert client.dbsize() <= 105
        assert counts.increment([FixedWindow("fsa:limit:long:86400", 5, 86400)]).value == 2
