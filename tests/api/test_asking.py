"""Asking Redis: nothing that went wrong meanwhile lets one request have another's answer."""

from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import ResponseError

from app.infra.asking import ask
from app.infra.cache import open_client
from embedded import Stack


@pytest.fixture
def client(servers: Stack) -> Iterator[redis.Redis]:
    with open_client(servers.redis.url, 2) as client:
        client.flushall()
        yield client


def test_an_answer_that_was_not_read_is_not_taken_for_the_next(client: redis.Redis) -> None:
    def fail() -> None:
        raise LookupError

    assert ask(client, "SET", "one", "1") == b"OK"
    for _ in range(3):
        with pytest.raises(LookupError):
            ask(client, "GET", "one", meanwhile=fail)
        assert ask(client, "GET", "two") is None
    assert client.get("one") == b"1"


def test_a_refusal_of_redis_is_raised_and_the_next_command_works(client: redis.Redis) -> None:
    ask(client, "SET", "one", "1")
    with pytest.raises(ResponseError):
        ask(client, "SADD", "one", "1")
    assert ask(client, "INCR", "one") == 2


def test_another_command_may_be_asked_meanwhile(client: redis.Redis) -> None:
    seen: list[object] = []
    assert ask(client, "GET", "one", meanwhile=lambda: seen.append(ask(client, "SET", "one", b"\0 1"))) is None
    assert seen == [b"OK"]
    assert ask(client, "GET", "one") == b"\0 1"


def test_no_connection_is_kept_for_who_failed(servers: Stack) -> None:
    with redis.Redis.from_url(servers.redis.url, max_connections=1) as client:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                ask(client, "PING", meanwhile=lambda: 1 / 0)
        assert ask(client, "PING") in (b"PONG", True)
