"""The local cache: no stale values, bounded size."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from app import signals
from app.cache import local
from app.cache.generations import Generations, clock_ns
from app.cache.local import LocalCache
from tests.support.cache_readers import get_or_compute, must_not_run, slow_reader
from tests.support.leases import FOREVER_NS

MIB = 2**20
KEYS = ["k"]


@pytest.fixture
def generations() -> Iterator[Generations]:
    """Generations with a lease that does not end."""
    with closing(Generations(2)) as made:
        made.prolong_lease(FOREVER_NS)
        yield made


@pytest.fixture
def cache(generations: Generations) -> LocalCache:
    return LocalCache(generations, MIB, 60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The clock of the cache: a list with the current time in ns."""
    now_ns = [clock_ns()]
    monkeypatch.setattr(local, "clock_ns", lambda: now_ns[0])
    return now_ns


@pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"x" * 100_000, ((("a", "b"),), b"body", None)])
def test_a_cached_value_equals_the_computed_value(cache: LocalCache, value: object) -> None:
    assert get_or_compute(cache, "k", KEYS, lambda: value) == value
    assert get_or_compute(cache, "k", KEYS, must_not_run) == value
    assert cache.get("k") == value


def test_an_unknown_key_is_not_found(cache: LocalCache) -> None:
    get_or_compute(cache, "k", KEYS, lambda: b"value")
    assert cache.get("other") is None


def test_one_of_several_keys_is_found_and_counts_as_one_read(
    cache: LocalCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[tuple[str, str]] = []
    monkeypatch.setattr(signals, "cache_read", [lambda *read: reads.append(read)])
    cache.put("second", b"value", KEYS, clock_ns())
    assert cache.get("first", "second") == b"value"
    assert cache.get("first", "third") is None
    assert reads == [("local", "hit"), ("local", "miss")]


def test_a_write_invalidates_its_keys_and_nothing_else(generations: Generations, cache: LocalCache) -> None:
    for key in ("one", "other", "page"):
        get_or_compute(cache, key, [key], lambda: b"old")
    get_or_compute(cache, "part", ["one", "part"], lambda: b"old")
    generations.invalidate(["page", "one"])
    for key in ("one", "page", "part"):
        assert get_or_compute(cache, key, [key], lambda: b"new") == b"new"
    assert get_or_compute(cache, "other", ["other"], must_not_run) == b"old"
    generations.invalidate()
    assert [cache.get(key) for key in ("one", "other", "page", "part")] == [None] * 4


def test_a_slow_computation_does_not_replace_a_newer_value(generations: Generations, cache: LocalCache) -> None:
    with slow_reader(lambda key, compute: get_or_compute(cache, key, KEYS, compute)):
        generations.invalidate(KEYS)
        assert get_or_compute(cache, "k", KEYS, lambda: b"new") == b"new"
    # The slow reader may have stored its value, but no reader gets it.
    assert cache.get("k") in (None, b"new")
    assert get_or_compute(cache, "k", KEYS, lambda: b"new") == b"new"


def test_without_a_lease_nothing_is_found(generations: Generations, cache: LocalCache) -> None:
    get_or_compute(cache, "k", KEYS, lambda: b"kept")
    generations.prolong_lease(0)
    assert cache.get("k") is None
    assert get_or_compute(cache, "k", KEYS, lambda: b"computed") == b"computed"
    generations.prolong_lease(clock_ns() - 1)
    assert cache.get("k") is None
    generations.prolong_lease(FOREVER_NS)
    assert cache.get("k") is not None, "a lease that came in time invalidates nothing"


def test_a_lease_granted_during_a_look_up_returns_no_stale_value() -> None:
    """The lease ends and is granted again, with the changes of the meantime, between two steps of a reader."""

    class Racing(Generations):
        def has_lease(self) -> bool:
            found = super().has_lease()
            self.invalidate(KEYS)
            return found

    with closing(Racing()) as generations:
        generations.prolong_lease(FOREVER_NS)
        racing = LocalCache(generations, MIB, 60)
        racing.put("k", b"old", KEYS, clock_ns())
        assert racing.get("k") is None


def test_a_value_expires_after_its_ttl(cache: LocalCache, clock: list[int]) -> None:
    get_or_compute(cache, "k", KEYS, lambda: b"kept")
    clock[0] += int(59.9e9)
    assert cache.get("k") == b"kept"
    clock[0] += int(0.1e9)
    assert cache.get("k") is None


def test_an_exception_is_raised_and_not_cached(cache: LocalCache) -> None:
    def fail() -> bytes:
        raise LookupError("nothing there")

    for _ in range(2):
        with pytest.raises(LookupError, match="nothing there"):
            get_or_compute(cache, "k", KEYS, fail)
    assert get_or_compute(cache, "k", KEYS, lambda: b"value") == b"value"


def kept(cache: LocalCache, count: int) -> list[int]:
    return [number for number in range(count) if cache.get(number) is not None]


def test_the_cache_never_exceeds_its_maximum_size(generations: Generations) -> None:
    cache = LocalCache(generations, 100_000, 60)
    for number in range(1000):
        get_or_compute(cache, number, KEYS, lambda: bytes(1000))
    assert 30 <= len(kept(cache, 1000)) <= 100
    assert cache.get(999) == bytes(1000)


def test_keys_count_toward_the_size(generations: Generations) -> None:
    """A small value with a long key."""
    cache = LocalCache(generations, 100_000, 60)
    for number in range(1000):
        cache.put((number, "x" * 5000), b"[]", KEYS, clock_ns())
    assert sum(cache.get((number, "x" * 5000)) is not None for number in range(1000)) < 100_000 / 5000


def test_a_replaced_value_frees_its_size(generations: Generations) -> None:
    cache = LocalCache(generations, 100_000, 60)
    for number in range(10):
        cache.put(number, b"kept", KEYS, clock_ns())
    for number in range(1000):
        cache.put("k", bytes(number), KEYS, clock_ns())
    assert kept(cache, 10) == list(range(10))


def test_the_least_recently_used_value_is_evicted_first(generations: Generations) -> None:
    cache, room = LocalCache(generations, 20_000, 60), 0
    while len(kept(cache, room)) == room:
        cache.put(room, bytes(1000), KEYS, clock_ns())
        room += 1
    cache = LocalCache(generations, 20_000, 60)
    for number in range(room - 1):
        cache.put(number, bytes(1000), KEYS, clock_ns())
    assert cache.get(0) is not None
    for number in range(room - 3):
        cache.put(f"new{number}", bytes(1000), KEYS, clock_ns())
    assert cache.get(0) is not None, "it was used last of the old ones"
    assert cache.get(1) is None


def test_a_value_that_needs_a_large_share_of_the_cache_is_not_cached(generations: Generations) -> None:
    cache = LocalCache(generations, 100_000, 60)
    cache.put("small", b"x", KEYS, clock_ns())
    cache.put("great", bytes(13_000), KEYS, clock_ns())
    assert cache.get("great") is None
    assert cache.get("small") == b"x"


def test_a_cache_of_size_zero_keeps_nothing(generations: Generations) -> None:
    cache = LocalCache(generations, 0, 60)
    for value in (b"one", b"two"):
        assert get_or_compute(cache, "k", KEYS, lambda value=value: value) == value
    assert cache.get("k") is None


def test_concurrent_threads_never_get_the_value_of_another_key(generations: Generations) -> None:
    cache, stop = LocalCache(generations, 50_000, 60), time.monotonic() + 1

    def run(seed: int) -> int:
        number = seed
        while time.monotonic() < stop:
            number = (number * 1103515245 + 12345) % 2**31
            key = number // 1000 % 200
            assert get_or_compute(cache, key, [str(key)], _value_of(key)) == _value_of(key)()
            if number % 50 == 0:
                generations.invalidate([str(key)])
        return number

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(run, range(6)))


def test_no_read_is_older_than_the_last_invalidated_write(generations: Generations) -> None:
    """Threads that write a counter and invalidate it, and threads that read it through the cache."""
    cache, truth, answered = LocalCache(generations, MIB, 60), [0], [0]
    stop, lock = time.monotonic() + 1, threading.Lock()

    def write(_: int) -> int:
        while time.monotonic() < stop:
            with lock:
                truth[0] += 1
                number = truth[0]
            generations.invalidate(KEYS)
            with lock:
                answered[0] = max(answered[0], number)
            time.sleep(0.0005)
        return 0

    def read(_: int) -> int:
        hits = 0
        while time.monotonic() < stop:
            least, computed = answered[0], []

            def compute(computed: list[int] = computed) -> int:
                computed.append(1)
                return truth[0] + 0

            found = get_or_compute(cache, "k", KEYS, compute)
            assert found >= least
            hits += not computed
        return hits

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, n) for n in range(2)]
        readers = [pool.submit(read, n) for n in range(4)]
        assert [one.result() for one in writers] == [0, 0]
        assert sum(one.result() for one in readers) > 100


def _value_of(key: int) -> Callable[[], bytes]:
    return lambda: b"%d," % key * 100
