"""What other hosts wrote is heard in time, also through a Redis that is slow or lies. Without one: test_leases.py."""

import struct
import threading
import time

import pytest
import redis

from app.infra.cache import CHANNEL, message
from app.infra.courier import LEASE_S
from app.infra.shared import EVERY_WRITE, SLOTS
from embedded import Redis
from tests.support.couriers import SLOT, Host, hear_all
from tests.support.leases import stamps
from tests.support.waiting import BOUND_S, wait_until


def test_a_host_hears_in_time_what_another_wrote(hosts: list[Host]) -> None:
    writer, reader = hosts
    times = []
    for _ in range(50):
        reader.keep()
        page, item = reader.state.stamp(EVERY_WRITE), reader.state.stamp(SLOT)
        writer.answers.forget(["k"])
        answered = time.monotonic()
        while reader.state.stamp(SLOT) == item or reader.state.stamp(EVERY_WRITE) == page:
            assert time.monotonic() - answered < BOUND_S
            time.sleep(0.0005)
        times.append(time.monotonic() - answered)
        assert reader.memory.recall("k") is None
    times.sort()
    print(f"heard after {1000 * times[25]:.1f} ms, at the most {1000 * times[-1]:.1f} ms")  # noqa: T201 - shown by -rP


def test_only_what_was_written_becomes_old(hosts: list[Host]) -> None:
    writer, reader = hosts
    before = stamps(reader.state)
    writer.cache.forget([SLOT, 1, SLOTS - 1])
    wait_until(lambda: reader.state.stamp(SLOTS - 1) != before[SLOTS - 1])
    changed = {slot for slot, stamp in enumerate(before) if reader.state.stamp(slot) != stamp}
    assert changed == {SLOT, 1, SLOTS - 1}


def test_a_write_of_very_many_makes_everything_old(hosts: list[Host]) -> None:
    writer, reader = hosts
    before = stamps(reader.state)
    writer.cache.forget(range(1, 5000))
    wait_until(lambda: all(reader.state.stamp(slot) != stamp for slot, stamp in enumerate(before)))


@pytest.mark.parametrize("delay_s", [0, LEASE_S / 2, LEASE_S])
def test_memory_is_never_older_than_the_lease_however_slow_redis_is(hosts: list[Host], delay_s: float) -> None:
    """Held to the promise itself: what recalls after the lease gets nothing from before the write."""
    writer, reader = hosts
    reader.proxy.delay_s = delay_s
    # When each version was answered, so which is the least that a read may give.
    answered, stop, faults, found = [0.0], threading.Event(), list[str](), [0]
    version = [0]

    def compute() -> bytes:
        return b"%d" % version[0]

    def read() -> None:
        while not stop.is_set():
            least = sum(moment < time.monotonic() - LEASE_S for moment in answered) - 1
            seen = reader.memory.recall("k")
            if seen is None:
                reader.memory.through("k", SLOT, compute)
                continue
            found[0] += 1
            if int(seen) < least:
                faults.append(f"{int(seen)} where it was {least} already")

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(30):
        version[0] += 1
        writer.answers.forget(["k"])
        answered.append(time.monotonic())
        time.sleep(0.05)
    stop.set()
    thread.join()
    print(f"{found[0]} answers from memory")  # noqa: T201 - shown by -rP
    assert faults == []
    assert found[0] > 0 or delay_s


def test_what_this_host_said_itself_is_not_done_again(hosts: list[Host]) -> None:
    one, other = hosts
    hear_all(hosts, other)
    before = stamps(one.state)
    for slots in ([SLOT], [EVERY_WRITE, SLOT], [], range(1, 5000)):
        one.cache.forget(slots)
    # It has heard its own when it has heard what came after.
    hear_all(hosts, other)
    changed = {slot for slot, stamp in enumerate(before) if one.state.stamp(slot) != stamp}
    assert changed == {SLOTS - 1}


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"x", b"x" * 7, b"nonsense", b"x" * 9, bytes(8) + struct.pack("<II", 7, SLOTS), "täglich 中文".encode()],
)
def test_nonsense_on_the_channel_makes_everything_old_and_ends_nothing(
    own_redis: Redis, hosts: list[Host], nonsense: bytes
) -> None:
    writer, reader = hosts
    before = stamps(reader.state)
    with redis.Redis.from_url(own_redis.url) as client:
        client.publish(CHANNEL, nonsense)
    wait_until(lambda: all(reader.state.stamp(slot) != stamp for slot, stamp in enumerate(before)))
    reader.keep()
    writer.answers.forget(["k"])
    wait_until(lambda: reader.memory.recall("k") is None)
    assert reader.memory.usable


def test_a_large_message_ends_nothing(own_redis: Redis, hosts: list[Host]) -> None:
    before = stamps(hosts[1].state)
    with redis.Redis.from_url(own_redis.url) as client:
        client.publish(CHANNEL, bytes(8) + b"\xff" * 1_000_000)
    wait_until(lambda: hosts[1].state.stamp(SLOTS - 1) != before[SLOTS - 1])
    hosts[1].keep()


def test_what_could_not_be_told_is_told_as_everything_as_soon_as_redis_is_reached(hosts: list[Host]) -> None:
    writer, reader = hosts
    reader.keep()
    before = stamps(reader.state)
    writer.link.refuse = True
    writer.link.cut()
    writer.answers.forget(["k"])
    assert not writer.state.trusted
    assert reader.state.stamp(SLOT) == before[SLOT], "it was told all the same, and this test shows nothing"
    writer.link.refuse = False
    # Nobody asks for anything: the probe of the link is enough.
    wait_until(lambda: writer.state.trusted)
    wait_until(lambda: all(reader.state.stamp(slot) != stamp for slot, stamp in enumerate(before)))
    assert reader.memory.recall("k") is None


def test_a_doubt_of_another_process_is_told_by_who_next_writes(own_redis: Redis, hosts: list[Host]) -> None:
    writer, reader = hosts
    before = stamps(reader.state)
    # The process that raised it is gone; this one has Redis all the time.
    writer.state.doubt()
    writer.answers.forget_alone("other")
    assert writer.state.trusted
    wait_until(lambda: all(reader.state.stamp(slot) != stamp for slot, stamp in enumerate(before)))
    with redis.Redis.from_url(own_redis.url) as client:
        stamp = client.get("fsa:cache:stamp")
        writer.answers.forget_alone("other")
        assert client.get("fsa:cache:stamp") == stamp, "nothing is in doubt any more, so pages stay"


def test_a_message_of_an_unknown_host_with_slots_is_done(own_redis: Redis, hosts: list[Host]) -> None:
    hosts[1].keep()
    with redis.Redis.from_url(own_redis.url) as client:
        client.publish(CHANNEL, message(12345, [SLOT]))
    wait_until(lambda: hosts[1].memory.recall("k") is None)
