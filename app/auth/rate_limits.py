"""Limits: how often one may sign in, and how much one credential may write. Counted in Redis, or here without it."""

import hashlib
import ipaddress
import threading
from collections.abc import Iterable, Sequence

from redis.exceptions import OutOfMemoryError, RedisError

from app.auth.counters import Count, InMemoryCounters, RedisCounters, ReservedQuota, Window
from app.cache.redis_client import open_client
from app.config import Settings
from app.errors import N_, Quota, RateLimited, Unavailable
from app.ops.circuit_breaker import CircuitBreaker

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400

# Delays grow from a minute to a day for one address that guesses one account's password. The
# limits of the account are far above what one address may do: a stranger can't lock anybody out.
# Shortest first: what one window refuses does not count in the longer ones.
_ACCOUNT_FROM_ADDRESS = ((5, _MINUTE_S), (10, 10 * _MINUTE_S), (20, _HOUR_S), (50, _DAY_S))
_ACCOUNT = ((100, _HOUR_S), (500, _DAY_S))
_ADDRESS = ((60, _MINUTE_S), (600, _HOUR_S))

_STEPS = 50
"""In so many steps a credential's writes of a minute are counted: so of 600 each process takes 12 at once, and when
a credential writes through several, the last few of its writes may be refused early; never is one too many let in."""
_MOST_ALLOWANCES = 10_000

_PREFIX = "fsa:limit"
_TIMEOUT_S = 0.1


class _Counter:
    """Counts in Redis; while Redis is away or full, in the memory of this process."""

    def __init__(self, redis_address: str, breaker: CircuitBreaker) -> None:
        self._client = open_client(redis_address, _TIMEOUT_S)
        self._breaker = breaker
        self._shared, self._own = RedisCounters(self._client), InMemoryCounters()
        self._allowances: dict[str, ReservedQuota] = {}
        self._asking = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def count(self, windows: Sequence[Window]) -> Count:
        """Count one in each window in turn, until one refuses. Returns that one, or the last."""
        if self._breaker.up:
            try:
                return self._shared.count(windows)
            except OutOfMemoryError:
                # Full of sessions, which are not evicted: others than new ones still work there.
                return self._own.count(windows)
            except (RedisError, OSError) as error:
                self._breaker.failed(error)
        return self._own.count(windows)

    def count_in_steps(self, window: Window) -> Count:
        """Count one, of a step of the window that is counted at once. Never lets in one too many."""
        return self._taken(window) or self._counted(window)

    def _taken(self, window: Window) -> Count | None:
        allowance = self._allowances.get(window.key)
        return allowance.take() if allowance is not None else None

    def _counted(self, window: Window) -> Count:
        # One thread asks, and what it gets is for those who waited, too.
        with self._asking:
            if (taken := self._taken(window)) is not None:
                return taken
            count = self.count([window])
            if len(self._allowances) >= _MOST_ALLOWANCES:
                self._allowances.clear()
            self._allowances[window.key] = allowance = ReservedQuota(count)
            return allowance.take() or count

    def counted(self, keys: Sequence[str]) -> list[int]:
        """What each has counted so far."""
        if self._breaker.up:
            try:
                return self._shared.counted(keys)
            except (RedisError, OSError) as error:
                self._breaker.failed(error)
        return self._own.counted(keys)

    def forget_here(self, keys: Iterable[str]) -> None:
        """Begin these anew in this process."""
        self._own.forget(keys)

    def forget(self, keys: Sequence[str]) -> bool:
        """Begin these anew. Returns whether Redis, too, has forgotten what it had counted."""
        self.forget_here(keys)
        if self._breaker.up:
            try:
                self._shared.forget(keys)
            except (RedisError, OSError) as error:
                self._breaker.failed(error)
        return self._breaker.up


class RateLimits:
    """Limits of sign-in attempts and of writes.

    breaker: of the Redis that counts. Without Redis each process counts for itself.
    """

    def __init__(self, settings: Settings, breaker: CircuitBreaker) -> None:
        self._write_rate_per_minute = settings.write_rate_per_minute
        self._counter = _Counter(settings.redis_address, breaker)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._counter.close()

    def count_sign_in(self, account: str, address: str | None) -> list[str]:
        """Count an attempt to sign in. Returns the keys of what is to be forgiven if its password is right.

        Raises: RateLimited, which knows whether it is the first refusal for this account
        """
        place = network_of(address)
        of_address, guesses = _windows(_ADDRESS, "address", place), _guesses(account, place)
        windows = [*of_address, *guesses, *_windows(_ACCOUNT, "account", account)]
        count = self._counter.count(windows)
        if count.excess > 0:
            is_new = count.excess == 1 and count.window not in of_address
            refusal = N_("Too many attempts to sign in. Wait, or ask an administrator to unlock.")
            raise RateLimited(refusal, _quota("sign-in", count), is_new_lock=is_new)
        return [window.key for window in guesses]

    def forgive(self, guesses: Sequence[str]) -> None:
        """Forget the failures of an account from an address: its password was known."""
        self._counter.forget(guesses)

    def forgive_here(self, guesses: Sequence[str]) -> None:
        """Forget them in this process only: who begins a session has Redis drop these keys in the same round trip."""
        self._counter.forget_here(guesses)

    def unlock(self, account: str, addresses: Iterable[str]) -> None:
        """Let an account in again, also from the addresses that failed. Raises: Unavailable"""
        windows = _lockouts(account, addresses)
        if not self._counter.forget([window.key for window in windows]):
            raise Unavailable(N_("Redis is away, so the wrong passwords that it counts could not be forgotten."))

    def is_locked(self, account: str, addresses: Iterable[str]) -> bool:
        """Whether the next attempt on an account would be refused, from anywhere or from one of these addresses."""
        windows = _lockouts(account, addresses)
        counts = self._counter.counted([window.key for window in windows])
        return any(count >= window.amount for window, count in zip(windows, counts, strict=True))

    def count_write(self, credential_id: str) -> Quota | None:
        """Count a write of a credential. Returns what is left; None: there is no limit. Raises: RateLimited"""
        limit = self._write_rate_per_minute
        if not limit:
            return None
        (window,) = _windows([(limit, _MINUTE_S)], "writes", credential_id)
        count = self._counter.count_in_steps(window._replace(step=max(1, limit // _STEPS)))
        quota = _quota("writes", count)
        if count.excess > 0:
            raise RateLimited(N_("This credential may make %(limit)s writes a minute.", limit=limit), quota)
        return quota


def _quota(name: str, count: Count) -> Quota:
    window = count.window
    return Quota(name, window.amount, window.window_s, max(0, -count.excess), count.reset_s)


def _guesses(account: str, place: str) -> list[Window]:
    """What counts guesses of one account's password from one place."""
    return _windows(_ACCOUNT_FROM_ADDRESS, "account", account, place)


def _lockouts(account: str, addresses: Iterable[str]) -> list[Window]:
    """All that may keep an account out: what counts the attempts from anywhere and from each of these addresses."""
    windows = _windows(_ACCOUNT, "account", account)
    for place in {network_of(address) for address in addresses}:
        windows += _guesses(account, place)
    return windows


def _windows(rules: Iterable[tuple[int, int]], scope: str, *whom: str) -> list[Window]:
    """A window for each (amount, seconds) that `whom` may in this scope."""
    counted = ":".join((_PREFIX, scope, *map(_digest, whom)))
    return [Window(f"{counted}:{seconds}", amount, seconds) for amount, seconds in rules]


def network_of(address: str | None) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, all of which any of its machines may use."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "-"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return f"{int(found) >> 64:x}::/64"
    return str(getattr(found, "ipv4_mapped", None) or found)


def _digest(text: str) -> str:
    """Names and addresses are not to be read in Redis."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
