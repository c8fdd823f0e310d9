"""Counting in windows of time: in Redis for all processes together, or in the memory of this one."""

import math
import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from redis import Redis

from app.cache.redis_client import run_script

_ENDS = "fsa:limit-ends"
"""When each window ends. Windows have no TTL: Redis may evict what has one, for the sake of a cached page."""
_SWEPT_AT_ONCE = 20
# One command of one script: eight windows take as long as one. What is over goes, and of too many what ends first.
_COUNT = """
local time, ends = redis.call('TIME'), KEYS[#KEYS]
local now, counted, left = time[1] + time[2] / 1000000, 0, 0
local over = redis.call('ZRANGE', ends, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[#ARGV])
local excess = redis.call('ZCARD', ends) - #over - ARGV[#ARGV - 1]
if excess > 0 then
  over = redis.call('ZRANGE', ends, 0, #over + math.min(excess, ARGV[#ARGV]) - 1)
end
for _, key in ipairs(over) do
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
  counted, left = redis.call('INCRBY', key, ARGV[3 * at]), ends_at - now
  if counted > tonumber(ARGV[3 * at - 2]) or at == #KEYS - 1 then return {at, counted, math.ceil(1000 * left)} end
end
"""
_MOST_SHARED = 50_000
"""Windows in Redis, which take some 20 MB there."""
_MOST = 20_000


class Window(NamedTuple):
    """`amount` of something may happen in `window_s`, which begin with the first. `key` says what is counted.

    `step`: how many are counted at once.
    """

    key: str
    amount: int
    window_s: int
    step: int = 1


class Count(NamedTuple):
    """The `window` that refuses, or the last one: how many it has counted, and in how many seconds it ends."""

    window: Window
    counted: int
    left_s: float

    @property
    def reset_s(self) -> int:
        """In how many whole seconds it has ended for sure, at least one."""
        return max(1, math.ceil(self.left_s))

    @property
    def excess(self) -> int:
        """By how many there are too many; at most 0 when there are not."""
        return self.counted - self.window.amount


class RedisCounters:
    """Counts in Redis. All methods raise RedisError or OSError when it is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def count(self, windows: Sequence[Window]) -> Count:
        """Count in each window in turn, until one refuses: what it refuses does not count in those after it."""
        rules = (number for window in windows for number in window[1:])
        keys = [*(window.key for window in windows), _ENDS]
        answer = run_script(self._redis, _COUNT, keys, [*rules, _MOST_SHARED, _SWEPT_AT_ONCE])
        at, counted, reset_ms = cast("list[int]", answer)
        return Count(windows[at - 1], counted, reset_ms / 1000)

    def counted(self, keys: Iterable[str]) -> list[int]:
        """What each has counted."""
        return [int(value or 0) for value in cast("list[bytes | None]", self._redis.mget(list(keys)))]

    def forget(self, keys: Iterable[str]) -> None:
        """Begin anew."""
        self._redis.delete(*keys)


class InMemoryCounters:
    """The same in memory. When it holds very many, what began first is forgotten."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def count(self, windows: Sequence[Window]) -> Count:
        """See RedisCounters."""
        with self._lock:
            for window in windows:
                count = self._counted(window)
                if count.excess > 0:
                    break
        return count

    def counted(self, keys: Iterable[str]) -> list[int]:
        """What each has counted."""
        now = time.monotonic()
        with self._lock:
            found = [self._counts.get(key, (0, 0.0)) for key in keys]
        return [counted if ends_at > now else 0 for counted, ends_at in found]

    def forget(self, keys: Iterable[str]) -> None:
        """Begin anew."""
        with self._lock:
            for key in keys:
                self._counts.pop(key, None)

    def _counted(self, window: Window) -> Count:
        now = time.monotonic()
        counted, ends_at = self._counts.get(window.key, (0, 0.0))
        if ends_at <= now:
            # As the newest, so that the first in the dictionary is what began first.
            self._counts.pop(window.key, None)
            counted, ends_at = 0, now + window.window_s
        counted += window.step
        self._counts[window.key] = (counted, ends_at)
        if len(self._counts) > _MOST:
            del self._counts[next(iter(self._counts))]
        return Count(window, counted, ends_at - now)


class ReservedQuota:
    """What is left of a step that was counted at once: so most of many need no round trip."""

    def __init__(self, count: Count) -> None:
        self._count = count
        # What does not fit into the window any more was counted in vain.
        self._left = count.window.step - max(0, count.excess)
        self._ends_at = time.monotonic() + count.left_s
        self._lock = threading.Lock()

    def take(self) -> Count | None:
        """One of them, as if it had been counted alone. None: there is none left, or the window is over."""
        with self._lock:
            if self._left <= 0 or time.monotonic() >= self._ends_at:
                return None
            self._left -= 1
            counted = min(self._count.counted, self._count.window.amount) - self._left
        return Count(self._count.window, counted, self._ends_at - time.monotonic())
