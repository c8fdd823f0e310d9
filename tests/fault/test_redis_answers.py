"""Redis answers, which hosts share: a host uses none that lacks a change known to the host."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
import redis

from app.cache.generations import Generations, clock_ns
from app.cache.known_changes import KnownChanges, PollResult, Snapshot
from app.cache.redis_answers import RedisAnswers
from app.config import load_settings
from embedded import Redis
from tests.support.cache_readers import must_not_run, slow_reader
from tests.support.concurrency import at_once
from tests.support.leases import FOREVER_NS
from tests.support.redis_outages import OUTAGES, break_redis, repair
from tests.support.service_process import Service, first_administrator
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import wait_until

USERS = ["users"]


class WatchedChanges(KnownChanges):
    """Known changes, and something that happens just after one has looked."""

    after: Callable[[], object] | None = None

    def last_poll(self, keys: Iterable[str]) -> PollResult | None:
        found, after = super().last_poll(keys), self.after
        self.after = None
        if after is not None:
            after()
        return found


class Host:
    """One process of a host, and its change poller, who hears what a test says."""

    def __init__(self, stack: ExitStack, server: Redis, timeout_s: float = 0.5, *, direct: bool = False) -> None:
        self.proxy = stack.enter_context(Proxy(server.port))
        self.generations = stack.enter_context(closing(Generations(2)))
        self.generations.prolong_lease(FOREVER_NS)
        self.known = stack.enter_context(closing(WatchedChanges(self.generations)))
        url = server.url if direct else server.url.replace(f":{server.port}/", f":{self.proxy.port}/")
        settings = load_settings({}, redis_url=url, redis_timeout_ms=round(1000 * timeout_s), cache_ttl_s=60)
        self.answers = stack.enter_context(closing(RedisAnswers(settings, self.generations, self.known)))
        self.incarnation, self._xids = "i", list[int]()
        self.ask(100)

    def ask(self, xmax: int, *heard: int, in_progress: tuple[int, ...] = ()) -> None:
        """One question of the poller: what it has heard, and the snapshot of the answer."""
        began_ns = clock_ns()
        self._xids += heard
        snapshot = Snapshot(min(in_progress, default=xmax), xmax, in_progress)
        if heard:
            self.generations.invalidate(USERS)
        self.known.publish(PollResult(began_ns, self.incarnation, snapshot, tuple(self._xids), 3))

    def get(self, compute: Callable[[], bytes], key: str = "k") -> bytes:
        return self.answers.get_or_compute(key, compute)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def pair(stack: ExitStack, own_redis: Redis) -> list[Host]:
    """Two hosts on one Redis, without any changes yet."""
    return [Host(stack, own_redis) for _ in range(2)]


def test_computed_values_are_shared_by_all_hosts(pair: list[Host]) -> None:
    assert pair[0].get(lambda: b"value") == b"value"
    for host in pair:
        assert host.get(must_not_run) == b"value"
        assert host.get(lambda: b"another", "other") == b"another"
        host.get(must_not_run, "other")
        break


@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"\n\n", b"x" * 200_000, b"x" * 2_000_000])
def test_any_value_is_returned_unchanged_or_computed_again(pair: list[Host], value: bytes) -> None:
    for host in (*pair, *pair):
        assert host.get(lambda: value) == value


def test_every_used_answer_includes_the_changes_known_to_the_host(pair: list[Host]) -> None:
    one, other = pair
    one.get(lambda: b"old")
    for host in pair:
        host.ask(101, 100)
        # The question by which it heard was asked before it heard.
        host.ask(101)
    assert one.get(lambda: b"new") == b"new"
    assert other.get(must_not_run) == b"new"


def test_a_host_uses_older_answers_until_it_sees_the_change(pair: list[Host]) -> None:
    one, other = pair
    one.get(lambda: b"old")
    one.ask(101, 100)
    one.ask(101)
    assert other.get(must_not_run) == b"old", "its lease says that it asked less than 100 ms ago"
    assert one.get(lambda: b"new") == b"new"
    assert other.get(must_not_run) == b"new", "what is newer than it has heard of is good, too"


def test_a_change_by_this_host_counts_before_the_poller_sees_it(pair: list[Host]) -> None:
    host = pair[0]
    host.get(lambda: b"old")
    host.generations.invalidate(USERS)
    for _ in range(2):
        assert host.get(lambda: b"new") == b"new"
    host.ask(101, 100)
    host.ask(101)
    assert host.get(lambda: b"newer") == b"newer", "nothing was kept by who did not know its place in time"
    assert host.get(must_not_run) == b"newer"


def test_an_open_transaction_does_not_disable_redis_and_is_not_missed(pair: list[Host]) -> None:
    host = pair[0]
    host.ask(105, 101, in_progress=(100,))
    host.ask(105, in_progress=(100,))
    host.get(lambda: b"without 100")
    assert host.get(must_not_run) == b"without 100"
    host.ask(106, 105, in_progress=(100,))
    host.ask(106, in_progress=(100,))
    assert host.get(lambda: b"with 105") == b"with 105"
    host.ask(106, 100)
    host.ask(106)
    assert host.get(lambda: b"with 100") == b"with 100"
    assert host.get(must_not_run) == b"with 100"


def test_an_answer_older_than_all_known_changes_is_not_used(pair: list[Host]) -> None:
    host = pair[0]
    host.get(lambda: b"old")
    host.known.publish(PollResult(clock_ns(), "i", Snapshot(200, 200, ()), (150,), 149))
    assert host.get(lambda: b"new") == b"new"
    assert host.get(must_not_run) == b"new"


def test_after_a_crash_recovery_nothing_from_before_is_found(pair: list[Host]) -> None:
    """It may include lost transactions, whose ids are assigned again."""
    host = pair[0]
    host.get(lambda: b"lost")
    host.incarnation = "after the crash"
    host.ask(100)
    assert host.get(lambda: b"new") == b"new"


def test_a_redis_restored_from_an_old_dump_returns_no_stale_value(pair: list[Host], own_redis: Redis) -> None:
    host = pair[0]
    host.get(lambda: b"old")
    with redis.Redis.from_url(own_redis.url) as client:
        dump = {key: client.dump(key) for key in client.keys("*")}
        host.ask(101, 100)
        host.ask(101)
        host.get(lambda: b"new")
        client.flushall()
        for key, value in dump.items():
            client.restore(key, 0, value)
    assert host.get(lambda: b"newer") == b"newer"


def test_without_a_lease_redis_is_not_asked(pair: list[Host]) -> None:
    host = pair[0]
    host.get(lambda: b"old")
    host.generations.prolong_lease(0)
    assert host.get(lambda: b"new") == b"new"


def test_a_slow_computation_does_not_replace_a_newer_redis_answer(pair: list[Host]) -> None:
    one, other = pair
    with slow_reader(lambda _, compute: one.get(compute)):
        for host in pair:
            host.ask(101, 100)
            host.ask(101)
    for host in (other, one):
        assert host.get(lambda: b"new") == b"new"


def test_a_read_after_a_write_does_not_join_an_older_computation(pair: list[Host]) -> None:
    host = pair[0]
    with slow_reader(lambda _, compute: host.get(compute)):
        host.generations.invalidate(USERS)
        assert host.get(lambda: b"new") == b"new"


def test_a_read_after_a_write_does_not_join_a_computation_with_an_older_poll(pair: list[Host]) -> None:
    """One reader has looked which changes are known; then a write is answered, and the answer is still in Redis."""
    host = pair[0]
    host.get(lambda: b"old")
    host.proxy.delay_s = 0.1
    host.known.after = lambda: host.generations.invalidate(USERS)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(host.get, must_not_run)
        wait_until(lambda: host.known.after is None)
        time.sleep(0.05)
        assert host.get(lambda: b"new") == b"new"
        assert first.result(5) == b"old"


def test_concurrent_requests_for_one_missing_key_compute_it_once(pair: list[Host]) -> None:
    calls: list[int] = []

    def compute() -> bytes:
        calls.append(1)
        time.sleep(0.3)
        return b"value"

    assert set(at_once([lambda: pair[0].get(compute)] * 50)) == {b"value"}
    assert len(calls) == 1


def test_concurrent_requests_do_not_wait_for_a_failed_computation(pair: list[Host]) -> None:
    gate = threading.Barrier(8)

    def compute() -> bytes:
        time.sleep(0.05)
        raise LookupError

    def ask(_: int) -> str:
        gate.wait()
        with pytest.raises(LookupError):
            pair[0].get(compute)
        return "raised"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8), timeout=10)) == ["raised"] * 8
    assert pair[0].get(lambda: b"value") == b"value"


@pytest.mark.parametrize("kind", OUTAGES)
def test_without_redis_values_are_computed_and_redis_is_used_again_after_it_returns(
    pair: list[Host], own_redis: Redis, kind: str
) -> None:
    host = pair[0]
    host.get(lambda: b"kept")
    break_redis(kind, own_redis, host.proxy)
    began = time.monotonic()
    assert host.get(lambda: b"computed") == b"computed"
    assert time.monotonic() - began < 1.5
    began = time.monotonic()
    for _ in range(20):
        assert host.get(lambda: b"computed") == b"computed"
    assert time.monotonic() - began < 0.5, "nobody waits for what is known to be away"
    repair(kind, own_redis, host.proxy)
    wait_until(lambda: host.answers.breaker.up)
    host.get(lambda: b"again")
    assert host.get(must_not_run) in (b"kept", b"again")


def test_a_redis_answer_expires_after_its_ttl(pair: list[Host], own_redis: Redis) -> None:
    pair[0].get(lambda: b"value")
    with redis.Redis.from_url(own_redis.url) as client:
        (key,) = client.keys("*")
        assert 50 < client.ttl(key) <= 60


def test_a_busy_process_does_not_mark_redis_as_unavailable(stack: ExitStack, own_redis: Redis) -> None:
    host, over = Host(stack, own_redis, timeout_s=0.1, direct=True), threading.Event()
    host.get(lambda: b"kept")

    def spin() -> None:
        while not over.is_set():
            pass

    spinning = [threading.Thread(target=spin) for _ in range(12)]
    for thread in spinning:
        thread.start()
    slowest = 0.0
    try:
        for _ in range(40):
            began = time.monotonic()
            assert host.get(must_not_run) == b"kept"
            slowest = max(slowest, time.monotonic() - began)
            assert host.answers.breaker.up
    finally:
        over.set()
        for thread in spinning:
            thread.join()
    print(f"slowest look-up {1000 * slowest:.0f} ms")  # noqa: T201 - shown by -rP
    assert slowest > 0.02, "nothing was as slow as it had to be to show anything"


def test_redis_answers_work_without_the_local_cache(
    serve: Callable[..., Service], new_database: str, own_redis: Redis
) -> None:
    service = serve(DATABASE_URL=new_database, REDIS_URL=own_redis.url, WORKERS="1", CACHE_MEMORY_MIB="0")
    headers = {**first_administrator(service), "Prefer": "count=exact"}
    with redis.Redis.from_url(own_redis.url) as client:

        def is_cached() -> bool:
            assert service.get("/api/users", headers=headers).status == 200
            return bool(client.keys("fsa:answer:*"))

        wait_until(is_cached)
