"""Leases: who does not hear the other hosts, since Redis is killed, hung or slow, makes no use of memory."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from app.infra.courier import LEASE_S, Courier
from app.infra.shared import SharedState
from embedded import Redis
from tests.support.couriers import SLOT, Host
from tests.support.leases import stamps
from tests.support.redis_outages import OUTAGES, break_it, mend
from tests.support.waiting import BOUND_S, wait_until


@pytest.mark.parametrize("kind", OUTAGES)
def test_without_redis_memory_is_not_used_and_when_it_is_back_all_is_old(
    own_redis: Redis, hosts: list[Host], kind: str
) -> None:
    host = hosts[1]
    host.keep()
    before = stamps(host.state)
    break_it(kind, own_redis, host.proxy)
    began = time.monotonic()
    wait_until(lambda: not host.memory.usable, seconds=BOUND_S)
    lost_s = time.monotonic() - began
    assert host.memory.recall("k") is None
    assert host.memory.through("k", SLOT, lambda: b"computed") == b"computed"
    # Longer than an answer is waited for: the connection is given up.
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert not host.memory.usable
        time.sleep(0.01)
    mend(kind, own_redis, host.proxy)
    began = time.monotonic()
    wait_until(lambda: host.memory.usable)
    back_s = time.monotonic() - began
    print(f"{kind}: lost after {1000 * lost_s:.0f} ms, back after {1000 * back_s:.0f} ms")  # noqa: T201 - shown by -rP
    assert all(host.state.stamp(slot) != stamp for slot, stamp in enumerate(before))
    assert host.memory.recall("k") is None
    host.keep(b"new")


def test_a_redis_that_is_too_slow_for_the_promise_ends_the_use_of_memory(own_redis: Redis, hosts: list[Host]) -> None:
    host = hosts[1]
    host.keep()
    break_it("too slow", own_redis, host.proxy)
    wait_until(lambda: not host.memory.usable, seconds=BOUND_S)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        assert not host.memory.usable
        time.sleep(0.01)
    mend("too slow", own_redis, host.proxy)
    wait_until(lambda: host.memory.usable)
    assert host.memory.recall("k") == b"old", "it heard all that was told meanwhile, though late"


def test_what_was_written_while_the_channel_was_lost_is_old_before_memory_is_used(
    own_redis: Redis, hosts: list[Host]
) -> None:
    writer, reader = hosts
    for number in range(10):
        kind = ("hangs up", "mute")[number % 2]
        reader.keep(b"%d" % number)
        break_it(kind, own_redis, reader.proxy)
        wait_until(lambda: not reader.memory.usable)
        writer.answers.forget(["k"])
        mend(kind, own_redis, reader.proxy)
        wait_until(lambda: reader.memory.usable)
        assert reader.memory.recall("k") is None


def test_after_a_hang_so_short_that_no_connection_was_given_up_others_are_waited_for_all_the_same(
    own_redis: Redis, hosts: list[Host]
) -> None:
    """A write that could not be told in the hang is told by a courier that gets its answer a little later."""
    writer, reader = hosts
    reader.keep()
    writer.proxy.delay_s = 0.05
    own_redis.pause()
    writer.state.doubt()
    answered = time.monotonic()
    time.sleep(0.15)
    own_redis.resume()
    while time.monotonic() < answered + 0.5:
        if time.monotonic() > answered + LEASE_S:
            assert reader.memory.recall("k") is None
    wait_until(lambda: reader.memory.usable)
    assert reader.memory.recall("k") is None


def test_a_courier_that_is_closed_leaves_no_lease(own_redis: Redis, tmp_path: Path) -> None:
    with closing(SharedState(tmp_path / "state")) as state:
        courier = Courier(own_redis.url, state)
        courier.start()
        wait_until(lambda: state.lease[0])
        courier.close()
        time.sleep(0.1)
        assert state.lease[0] == 0
        assert not courier._thread.is_alive()


def test_a_courier_that_never_started_can_be_closed(own_redis: Redis, tmp_path: Path) -> None:
    with closing(SharedState(tmp_path / "state")) as state:
        Courier(own_redis.url, state).close()
        assert state.lease[0] == 0


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "redis://nowhere.invalid:6379/0",
        "unix:///nowhere/redis.sock",
        "redis://:wrong@127.0.0.1:{port}/0",
    ],
)
def test_without_redis_there_is_no_lease_and_the_end_is_not_waited_for(
    own_redis: Redis, tmp_path: Path, url: str
) -> None:
    with closing(SharedState(tmp_path / "state")) as state:
        courier = Courier(url.format(port=own_redis.port), state)
        courier.start()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert state.lease[0] == 0
            time.sleep(0.01)
        assert courier._thread.is_alive()
        began = time.monotonic()
        courier.close()
        assert time.monotonic() - began < BOUND_S
