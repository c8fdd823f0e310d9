"""Rate limits of sign-in attempts and of writes. Counted in Redis, or in this process while Redis is unavailable."""

import hashlib
import ipaddress
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cachetools import LRUCache

from app import signals
from app.auth.counters import FixedWindow, InMemoryCounters, RedisCounters
from app.cache.redis_client import RedisStore
from app.config import Settings
from app.errors import N_, Quota, RateLimited, Unavailable

Result = TypeVar("Result")

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


@dataclass(slots=True)
class _Reservation:
    """Writes of a credential that need no round trip: those after number `used` up to number `last` of a window.

    ends_at: when the window ends (time.monotonic).
    """

    used: int
    last: int
    ends_at: float


class RateLimits(RedisStore):
    """Rate limits of sign-in attempts and of writes. Without Redis each process counts alone."""

    unavailable_message = N_("Redis is unavailable, so the failed sign-ins that it counts could not be reset.")

    def __init__(self, settings: Settings) -> None:
        super().__init__("rate limits", settings.redis_address, _TIMEOUT_S)
        self._write_rate_per_minute = settings.write_rate_per_minute
        self._local = InMemoryCounters()
        self._reserved: LRUCache[str, _Reservation] = LRUCache(_MAX_RESERVED)
        self._lock = threading.Lock()

    def count_sign_in(self, account: str, address: str | None) -> list[str]:
        """Count a sign-in attempt. Returns the counters to reset if its password is right.

        Raises: RateLimited; its `is_new_lock` marks the first refusal for this account
        """
        network = network_key(address)
        of_address = _windows(_ADDRESS, "address", network)
        of_failures = _windows(_ACCOUNT_FROM_ADDRESS, "account", account, network)
        windows = [*of_address, *of_failures, *_windows(_ACCOUNT, "account", account)]
        count = self._failing_over(lambda counters: counters.increment(windows))
        if count.value > count.window.limit:
            is_new = count.value == count.window.limit + 1 and count.window not in of_address
            message = N_("Too many sign-in attempts. Try again later, or ask an administrator to unlock the account.")
            _, limit, window_s = count.window
            quota = Quota("sign-in", limit, window_s, 0, math.ceil(count.remaining_s))
            for receive in signals.rate_limited:
                receive(quota.name)
            raise RateLimited(message, quota, is_new_lock=is_new)
        return [window.key for window in of_failures]

    def reset_failures(self, keys: Sequence[str]) -> None:
        """Reset counters that `count_sign_in` returned, after the right password."""
        self.reset_local_failures(keys)
        self._failing_over(lambda counters: counters.reset(keys))

    def reset_local_failures(self, keys: Sequence[str]) -> None:
        """Reset them in this process only. `Sessions.create` resets them in Redis, in the same round trip."""
        self._local.reset(keys)

    def unlock(self, account: str, addresses: Iterable[str]) -> None:
        """Reset the counters of an account, and of the account from these addresses. Raises: Unavailable"""
        keys = [window.key for window in _lockout_windows(account, addresses)]
        self.reset_local_failures(keys)
        with self._redis() as redis:
            RedisCounters(redis).reset(keys)

    def is_locked(self, account: str, addresses: Iterable[str]) -> bool:
        """Whether the next attempt on an account would be refused, from anywhere or from one of these addresses."""
        windows = _lockout_windows(account, addresses)
        values = self._failing_over(lambda counters: counters.values([window.key for window in windows]))
        return any(value >= window.limit for window, value in zip(windows, values, strict=True))

    def count_write(self, credential_id: str) -> Quota | None:
        """Count a write of a credential. Returns the remaining quota; None: no limit is set. Raises: RateLimited"""
        limit = self._write_rate_per_minute
        if not limit:
            return None
        # One thread reserves for all waiting threads.
        with self._lock:
            reserved = self._reserved.get(credential_id)
            if reserved is None or reserved.used >= reserved.last or time.monotonic() >= reserved.ends_at:
                reserved = self._reserve(credential_id, limit)
                self._reserved[credential_id] = reserved
            reserved.used += 1
            number = reserved.used
        reset_s = max(1, math.ceil(reserved.ends_at - time.monotonic()))
        quota = Quota("writes", limit, _MINUTE_S, max(0, limit - number), reset_s)
        if number > limit:
            for receive in signals.rate_limited:
                receive(quota.name)
            raise RateLimited(N_("This credential may make %(limit)s writes per minute.", limit=limit), quota)
        return quota

    def _reserve(self, credential_id: str, limit: int) -> _Reservation:
        windows, amount = _windows([(limit, _MINUTE_S)], "writes", credential_id), max(1, limit // _RESERVATIONS)
        count = self._failing_over(lambda counters: counters.increment(windows, amount))
        return _Reservation(count.value - amount, count.value, time.monotonic() + count.remaining_s)

    def _failing_over(self, operation: Callable[[RedisCounters | InMemoryCounters], Result]) -> Result:
        """Use the counters in Redis, or those of this process while Redis is unavailable, or full of sessions."""
        try:
            with self._redis() as redis:
                return operation(RedisCounters(redis))
        except Unavailable:
            return operation(self._local)


def _lockout_windows(account: str, addresses: Iterable[str]) -> list[FixedWindow]:
    """All limits that may lock an account: from anywhere, and from each of these addresses."""
    windows = _windows(_ACCOUNT, "account", account)
    for network in {network_key(address) for address in addresses}:
        windows += _windows(_ACCOUNT_FROM_ADDRESS, "account", account, network)
    return windows


def _windows(limits: Iterable[tuple[int, int]], scope: str, *subject: str) -> list[FixedWindow]:
    """A window for each (limit, seconds) of a subject in a scope. Their keys do not show names and addresses."""
    digests = (hashlib.blake2b(text.encode(), digest_size=12).hexdigest() for text in subject)
    prefix = ":".join((_PREFIX, scope, *digests))
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
