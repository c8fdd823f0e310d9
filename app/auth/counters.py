"""Fixed-window counters: in Redis for all processes together, or in the memory of one process."""

import math
import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

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
    ends_at = now + ARGV[3 * at - 1]
    redis.call('ZADD', ends, ends_at, key)
  end
  count, left = redis.call('INCRBY', key, ARGV[3 * at]), ends_at - now
  if count > tonumber(ARGV[3 * at - 2]) or at == #KEYS - 1 then return {at, count, math.ceil(1000 * left)} end
end
"""
MAX_REDIS_COUNTERS = 50_000
"""About 20 MB in Redis."""
MAX_LOCAL_COUNTERS = 20_000


class FixedWindow(NamedTuple):
    """At most `limit` events in `window_s` seconds, which begin with the first event. `key` names the counter.

    cost: by how much one increment raises the counter.
    """

    key: str
    limit: int
    window_s: int
    cost: int = 1


class Count(NamedTuple):
    """The value of a counter, and the seconds until its window ends."""

    window: FixedWindow
    value: int
    remaining_s: float

    @property
    def reset_s(self) -> int:
        """Whole seconds after which the window has ended, at least one."""
        return max(1, math.ceil(self.remaining_s))

    @property
    def over_limit_by(self) -> int:
        """By how much the value exceeds the limit; 0 or negative if it does not."""
        return self.value - self.window.limit


class RedisCounters:
    """Counters in Redis. All methods raise RedisError or OSError if Redis is unavailable."""

    def __init__(self, redis: Redis, max_counters: int = MAX_REDIS_COUNTERS) -> None:
        self._redis, self._max_counters = redis, max_counters

    def increment(self, windows: Sequence[FixedWindow]) -> Count:
        """Increment each window in turn, up to the first that exceeds its limit. Returns the last incremented one."""
        rules = (number for window in windows for number in window[1:])
        keys = [*(window.key for window in windows), _ENDS]
        answer = run_script(self._redis, _INCREMENT, keys, [*rules, self._max_counters, _MAX_SWEPT])
        at, value, reset_ms = cast("list[int]", answer)
        return Count(windows[at - 1], value, reset_ms / 1000)

    def values(self, keys: Iterable[str]) -> list[int]:
        """The value of each counter; 0 if there is none."""
        return [int(value or 0) for value in cast("list[bytes | None]", self._redis.mget(list(keys)))]

    def reset(self, keys: Iterable[str]) -> None:
        """Delete these counters."""
        self._redis.delete(*keys)


class InMemoryCounters:
    """Counters in the memory of this process. At its maximum size, the window that began first is dropped."""

    def __init__(self, max_counters: int = MAX_LOCAL_COUNTERS) -> None:
        self._max_counters = max_counters
        self._counts: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def increment(self, windows: Sequence[FixedWindow]) -> Count:
        """See RedisCounters."""
        with self._lock:
            for window in windows:
                count = self._increment(window)
                if count.over_limit_by > 0:
                    break
        return count

    def values(self, keys: Iterable[str]) -> list[int]:
        """See RedisCounters."""
        now = time.monotonic()
        with self._lock:
            found = [self._counts.get(key, (0, 0.0)) for key in keys]
        return [value if ends_at > now else 0 for value, ends_at in found]

    def reset(self, keys: Iterable[str]) -> None:
        """See RedisCounters."""
        with self._lock:
            for key in keys:
                self._counts.pop(key, None)

    def _increment(self, window: FixedWindow) -> Count:
        now = time.monotonic()
        value, ends_at = self._counts.get(window.key, (0, 0.0))
        if ends_at <= now:
            # Removed and added again at the end, so the dictionary is in the order in which windows began.
            self._counts.pop(window.key, None)
            value, ends_at = 0, now + window.window_s
        value += window.cost
        self._counts[window.key] = (value, ends_at)
        if len(self._counts) > self._max_counters:
            del self._counts[next(iter(self._counts))]
        return Count(window, value, ends_at - now)


class ReservedQuota:
    """A part of a limit that one increment reserved for this process. Taking from it needs no round trip."""

    def __init__(self, count: Count) -> None:
        self._count = count
        # The part of the increment that exceeds the limit is not available.
        self._left = count.window.cost - max(0, count.over_limit_by)
        self._ends_at = time.monotonic() + count.remaining_s
        self._lock = threading.Lock()

    def take(self) -> Count | None:
        """Take one, as if it had been counted alone. None: nothing is left, or the window has ended."""
        with self._lock:
            if self._left <= 0 or time.monotonic() >= self._ends_at:
                return None
            self._left -= 1
            value = min(self._count.value, self._count.window.limit) - self._left
        return Count(self._count.window, value, self._ends_at - time.monotonic())
