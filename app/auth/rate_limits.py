"""Rate limits of sign-in attempts and of writes. Counted in Redis, or in this process while Redis is unavailable."""

import hashlib
import ipaddress
import threading
from collections.abc import Iterable, Sequence

from redis.exceptions import OutOfMemoryError, RedisError

from app.auth.counters import Count, FixedWindow, InMemoryCounters, RedisCounters, ReservedQuota
from app.cache.redis_client import open_client
from app.config import Settings
from app.errors import N_, Quota, RateLimited, Unavailable
from app.ops.circuit_breaker import CircuitBreaker

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400

# Limits as (attempts, seconds), shortest window first: an attempt that a short window refuses does not count in longer
# ones. The limits of an account are far above those of one address, so a stranger cannot lock a user out.
_ACCOUNT_FROM_ADDRESS = ((5, _MINUTE_S), (10, 10 * _MINUTE_S), (20, _HOUR_S), (50, _DAY_S))
_ACCOUNT = ((100, _HOUR_S), (500, _DAY_S))
_ADDRESS = ((60, _MINUTE_S), (600, _HOUR_S))

_RESERVATIONS = 50
"""A process reserves this fraction of a write limit at once, 12 of 600. If a credential writes through several
processes, its last writes may be refused early. Never is one too many allowed."""
_MAX_RESERVED = 10_000

_PREFIX = "fsa:limit"
_TIMEOUT_S = 0.1


class _FailoverCounters:
    """Counts in Redis. Counts in the memory of this process while Redis is unavailable or full."""

    def __init__(self, redis_address: str, breaker: CircuitBreaker) -> None:
        self._client = open_client(redis_address, _TIMEOUT_S)
        self._breaker = breaker
        self._shared, self._local = RedisCounters(self._client), InMemoryCounters()
        self._reserved: dict[str, ReservedQuota] = {}
        self._reserve_lock = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def increment(self, windows: Sequence[FixedWindow]) -> Count:
        """Increment each window in turn, up to the first that exceeds its limit. Returns the last incremented one."""
        if self._breaker.up:
            try:
                return self._shared.increment(windows)
            except OutOfMemoryError:
                # Sessions fill Redis and are not evicted. Reads still work, so the circuit stays closed.
                return self._local.increment(windows)
            except (RedisError, OSError) as error:
                self._breaker.failed(error)
        return self._local.increment(windows)

    def increment_reserved(self, window: FixedWindow) -> Count:
        """Count one event from a reserved part of the window. Reserves `window.cost` events if none is left."""
        return self._take(window) or self._reserve(window)

    def _take(self, window: FixedWindow) -> Count | None:
        quota = self._reserved.get(window.key)
        return quota.take() if quota is not None else None

    def _reserve(self, window: FixedWindow) -> Count:
        # One thread reserves for all waiting threads.
        with self._reserve_lock:
            if (taken := self._take(window)) is not None:
                return taken
            count = self.increment([window])
            if len(self._reserved) >= _MAX_RESERVED:
                self._reserved.clear()
            self._reserved[window.key] = quota = ReservedQuota(count)
            return quota.take() or count

    def values(self, keys: Sequence[str]) -> list[int]:
        """The value of each counter."""
        if self._breaker.up:
            try:
                return self._shared.values(keys)
            except (RedisError, OSError) as error:
                self._breaker.failed(error)
        return self._local.values(keys)

    def reset_local(self, keys: Iterable[str]) -> None:
        """Reset these counters of this process."""
        self._local.reset(keys)

    def reset(self, keys: Sequence[str]) -> bool:
        """Reset these counters here and in Redis. Returns whether Redis is available."""
        self.reset_local(keys)
        if self._breaker.up:
            try:
                self._shared.reset(keys)
            except (RedisError, OSError) as error:
                self._breaker.failed(error)
        return self._breaker.up


class RateLimits:
    """Rate limits of sign-in attempts and of writes.

    breaker: the circuit breaker of the Redis that holds the counters. Without Redis each process counts alone.
    """

    def __init__(self, settings: Settings, breaker: CircuitBreaker) -> None:
        self._write_rate_per_minute = settings.write_rate_per_minute
        self._counters = _FailoverCounters(settings.redis_address, breaker)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._counters.close()

    def count_sign_in(self, account: str, address: str | None) -> list[str]:
        """Count a sign-in attempt. Returns the counters to reset if its password is right.

        Raises: RateLimited; its `is_new_lock` marks the first refusal for this account
        """
        network = network_key(address)
        of_address, of_failures = _windows(_ADDRESS, "address", network), _failure_windows(account, network)
        windows = [*of_address, *of_failures, *_windows(_ACCOUNT, "account", account)]
        count = self._counters.increment(windows)
        if count.over_limit_by > 0:
            is_new = count.over_limit_by == 1 and count.window not in of_address
            message = N_("Too many sign-in attempts. Try again later, or ask an administrator to unlock the account.")
            raise RateLimited(message, _quota("sign-in", count), is_new_lock=is_new)
        return [window.key for window in of_failures]

    def reset_failures(self, keys: Sequence[str]) -> None:
        """Reset counters that `count_sign_in` returned, after the right password."""
        self._counters.reset(keys)

    def reset_local_failures(self, keys: Sequence[str]) -> None:
        """Reset them in this process only. `Sessions.create` resets them in Redis, in the same round trip."""
        self._counters.reset_local(keys)

    def unlock(self, account: str, addresses: Iterable[str]) -> None:
        """Reset the counters of an account, and of the account from these addresses. Raises: Unavailable"""
        windows = _lockout_windows(account, addresses)
        if not self._counters.reset([window.key for window in windows]):
            raise Unavailable(N_("Redis is unavailable, so the failed sign-ins that it counts could not be reset."))

    def is_locked(self, account: str, addresses: Iterable[str]) -> bool:
        """Whether the next attempt on an account would be refused, from anywhere or from one of these addresses."""
        windows = _lockout_windows(account, addresses)
        values = self._counters.values([window.key for window in windows])
        return any(value >= window.limit for window, value in zip(windows, values, strict=True))

    def count_write(self, credential_id: str) -> Quota | None:
        """Count a write of a credential. Returns the remaining quota; None: no limit is set. Raises: RateLimited"""
        limit = self._write_rate_per_minute
        if not limit:
            return None
        (window,) = _windows([(limit, _MINUTE_S)], "writes", credential_id)
        count = self._counters.increment_reserved(window._replace(cost=max(1, limit // _RESERVATIONS)))
        quota = _quota("writes", count)
        if count.over_limit_by > 0:
            raise RateLimited(N_("This credential may make %(limit)s writes per minute.", limit=limit), quota)
        return quota


def _quota(name: str, count: Count) -> Quota:
    window = count.window
    return Quota(name, window.limit, window.window_s, max(0, -count.over_limit_by), count.reset_s)


def _failure_windows(account: str, network: str) -> list[FixedWindow]:
    """The limits of attempts on one account from one network."""
    return _windows(_ACCOUNT_FROM_ADDRESS, "account", account, network)


def _lockout_windows(account: str, addresses: Iterable[str]) -> list[FixedWindow]:
    """All limits that may lock an account: from anywhere, and from each of these addresses."""
    windows = _windows(_ACCOUNT, "account", account)
    for network in {network_key(address) for address in addresses}:
        windows += _failure_windows(account, network)
    return windows


def _windows(limits: Iterable[tuple[int, int]], scope: str, *subject: str) -> list[FixedWindow]:
    """A window for each (limit, seconds) of a subject in a scope."""
    prefix = ":".join((_PREFIX, scope, *map(_digest, subject)))
    return [FixedWindow(f"{prefix}:{seconds}", limit, seconds) for limit, seconds in limits]


def network_key(address: str | None) -> str:
    """The network that counts as one address: IPv4 as it is; IPv6 its /64, since one machine may use all of it."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "-"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return f"{int(parsed) >> 64:x}::/64"
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _digest(text: str) -> str:
    """A digest, so Redis shows no usernames and addresses."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
