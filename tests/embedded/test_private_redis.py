"""The private Redis: the bundled one, and one on the path."""

from pathlib import Path

import pytest
import redis
from witness import processes_of, wait_until_none_is_left

from embedded import Redis, redis_program


def client(server: Redis) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=0.5, socket_connect_timeout=0.5)


def test_the_private_redis_has_a_memory_limit_and_no_persistence(tmp_path: Path) -> None:
    with Redis(tmp_path / "redis") as server, client(server) as connection:
        settings = connection.config_get("*")
        assert settings["maxmemory"] == str(128 * 1024 * 1024)
        assert settings["maxmemory-policy"] == "volatile-ttl"
        assert settings["save"] == ""
        assert settings["appendonly"] == "no"
        assert settings["bind"] == "127.0.0.1"
        assert connection.info()["redis_version"] >= "6.2"


def test_the_private_redis_requires_a_password_that_is_in_no_command_line(tmp_path: Path) -> None:
    with Redis(tmp_path / "redis") as server:
        assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o777 == 0o600
        with redis.Redis(port=server.port) as guest, pytest.raises(redis.AuthenticationError):
            guest.ping()
        (process,) = processes_of(tmp_path)
        assert server.password not in " ".join(process.cmdline())


def test_after_restart_and_kill_the_private_redis_is_empty_on_the_same_port(tmp_path: Path) -> None:
    with Redis(tmp_path / "redis") as server:
        url = server.url
        for end in (server.restart, server.kill):
            with client(server) as connection:
                connection.set("key", "value")
            end()
            server.start()
            with client(server) as connection:
                assert connection.get("key") is None
        assert server.url == url
    wait_until_none_is_left(tmp_path)


def test_a_paused_server_lets_clients_hang_until_it_is_resumed(tmp_path: Path) -> None:
    with Redis(tmp_path / "redis") as server, client(server) as connection:
        connection.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            connection.ping()
        server.resume()
        assert connection.ping()


def test_a_redis_on_the_path_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "redis-server"
    fake.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=00000000:0 bits=64'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = redis_program.find_program.__wrapped__()
    assert found != fake
    fake.write_text("#!/bin/sh\necho 'Redis server v=7.2.4 sha=00000000:0 bits=64'\n")
    assert redis_program.find_program.__wrapped__() == fake
