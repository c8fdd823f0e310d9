"""Fixed-window counters: in Redis for all processes together, or in the memory of one process."""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from cachetools import TLRUCache
from redis import Redis

from app.cache.redis_client import run_script

_ENDS = "fsa:limit-ends"
"""The end of each window. Counters have no TTL, because Redis may evict keys with a TTL to make room for a page."""
_MAX_SWEPT = 20
"""Counters that one increment deletes at most."""
# One script takes one round trip; eight windows take as long as one. It deletes expired counters, and the counters that
# expire next if there are too many.
_INCREMENT = """
local time, ends = redis.call('TIME'), KEYS[#KEYS]
local now, count, left = time[1] + time[2] / 1000000, 0, 0
local expired = redis.call('ZRANGE', ends, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[#ARGV])
local excess = redis.call('ZCARD', ends) - #expired - ARGV[#ARGV - 1]
if excess > 0 then
  expired = redis.call('ZRANGE', ends, 0, #expired + math.min(excess, ARGV[#ARGV]) - 1)
end
for _, key in ipairs(expired) do
  redis.call('DEL', key)
  redis.call('ZREM', ends, key)
end
for at = 1, #KEYS - 1 do
  local key, ends_at = KEYS[at], tonumber(redis.call('ZSCORE', ends, KEYS[at]) or 0)
  if ends_at <= now then
    redis.call('DEL', key)
    ends_at = now + ARGV[2 * at]
    redis.call('ZADD', ends, ends_at, key)
  end
  count, left = redis.call('INCRBY', key, ARGV[#ARGV - 2]), ends_at - now
  if count > tonumber(ARGV[2 * at - 1]) or at == #KEYS - 1 then return {at, count, math.ceil(1000 * left)} end
end
"""
MAX_REDIS_COUNTERS = 50_000
"""About 20 MB in Redis."""
MAX_LOCAL_COUNTERS = 20_000


class FixedWindow(NamedTuple):
    """At most `limit` events in `window_s` seconds, which begin with the first event. `key` names the counter."""

    key: str
    limit: int
    window_s: int


class Count(NamedTuple):
    """The value of a counter, and the seconds until its window ends."""

    window: FixedWindow
    value: int
    remaining_s: float


class RedisCounters:
    """Counters in Redis. All methods raise RedisError or OSError if Redis is unavailable."""

    def __init__(self, redis: Redis, max_counters: int = MAX_REDIS_COUNTERS) -> None:
        self._redis, self._max_counters = redis, max_counters

    def increment(self, windows: Sequence[FixedWindow], amount: int = 1) -> Count:
        """Add `amount` to each window in turn, up to the first that exceeds its limit. Returns the last one."""
        limits = (number for window in windows for number in (window.limit, window.window_s))
        keys = [*(window.key for window in windows), _ENDS]
        answer = run_script(self._redis, _INCREMENT, keys, [*limits, amount, self._max_counters, _MAX_SWEPT])
        at, value, reset_ms = cast("list[int]", answer)
        return Count(windows[at - 1], value, reset_ms / 1000)

    def values(self, keys: Iterable[str]) -> list[int]:
        """The value of each counter; 0 if there is none."""
        return [int(value or 0) for value in cast("list[bytes | None]", self._redis.mget(list(keys)))]

    def reset(self, keys: Iterable[str]) -> None:
        """Delete these counters."""
        self._redis.delete(*keys)


class InMemoryCounters:
    """Counters in the memory of this process. At its maximum size, the least recently used one is dropped."""

    def __init__(self, max_counters: int = MAX_LOCAL_COUNTERS) -> None:
        # The value of each counter, and the end of its window, after which it is dropped.
        self._counts: TLRUCache[str, tuple[int, float]] = TLRUCache(
            max_counters, ttu=lambda _key, count, _now: count[1], timer=time.monotonic
        )
        self._lock = threading.Lock()

    def increment(self, windows: Sequence[FixedWindow], amount: int = 1) -> Count:
        """See RedisCounters."""
        now = time.monotonic()
        with self._lock:
            for window in windows:
                value, ends_at = self._counts.get(window.key, (0, now + window.window_s))
                value += amount
                self._counts[window.key] = (value, ends_at)
                if value > window.limit:
                    break
        return Count(window, value, ends_at - now)

    def values(self, keys: Iterable[str]) -> list[int]:
        """See RedisCounters."""
        with self._lock:
            return [self._counts.get(key, (0, 0.0))[0] for key in keys]

    def reset(self, keys: Iterable[str]) -> None:
        """See RedisCounters."""
        with self._lock:
            for key in keys:
                self._counts.pop(key, None)
