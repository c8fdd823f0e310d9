"""Limits: how often one may sign in, and how much one credential may write. Counted in Redis, or here without it."""

import hashlib
import ipaddress
import math
import time
from collections.abc import Iterable

from limits import RateLimitItem, RateLimitItemPerMinute, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage

from app.errors import Quota, TooMany, Unavailable
from app.extensions import Resources, resources
from app.infra.cache import open_client

# Delays grow from a minute to a day for one address that guesses one account's password. The
# limits of the account are far above what one address may do: a stranger can't lock anybody out.
_ACCOUNT_FROM_ADDRESS = parse_many("5/minute; 10/10 minutes; 20/hour; 50/day")
_ACCOUNT = parse_many("100/hour; 500/day")
_ADDRESS = parse_many("60/minute; 600/hour")

_PREFIX = "fsa:limit"
_TIMEOUT_S = 0.1


class Limiter:
    """Counts in Redis; while that is away, in the memory of this process."""

    def __init__(self, held: Resources) -> None:
        pool = open_client(held.settings.redis_address, _TIMEOUT_S).connection_pool
        self._link = held.redis_cache.link
        self._shared = RedisStorage(held.settings.redis_address, pool, key_prefix=_PREFIX, wrap_exceptions=True)
        self._own = MemoryStorage()
        self.writes = RateLimitItemPerMinute(held.settings.write_limit) if held.settings.write_limit else None
        held.at_close(pool.disconnect)

    def hit(self, item: RateLimitItem, *whom: str) -> tuple[int, int]:
        """Count one. Returns how many that makes in the window, and seconds until it ends."""
        key = item.key_for(*map(_digest, whom))
        if self._link.up:
            try:
                return _counted(self._shared, key, item)
            except StorageError as error:
                self._link.failed(error)
        return _counted(self._own, key, item)

    def clear(self, items: Iterable[RateLimitItem], *whom: str) -> bool:
        """Forget what was counted. Returns whether Redis, too, has forgotten it."""
        for item in items:
            key = item.key_for(*map(_digest, whom))
            self._own.clear(key)
            if self._link.up:
                try:
                    self._shared.clear(key)
                except StorageError as error:
                    self._link.failed(error)
        return self._link.up


def count_sign_in(account: str, address: str | None) -> None:
    """Count an attempt to sign in. Raises: TooMany, which knows whether it is the first refusal for this account"""
    limiter, place = _limiter(), _place(address)
    for scope, items, whom in (
        ("address", _ADDRESS, (place,)),
        ("account", _ACCOUNT_FROM_ADDRESS, (account, place)),
        ("account", _ACCOUNT, (account,)),
    ):
        # Shortest first: what one window refuses does not count in the longer ones.
        for item in items:
            counted, reset_s = limiter.hit(item, scope, *whom)
            if counted > item.amount:
                is_new = scope == "account" and counted == item.amount + 1
                sentence = "Too many attempts to sign in. Wait, or ask an administrator to unlock."
                raise TooMany(sentence, _quota("sign-in", item, counted, reset_s), is_new_lock=is_new)


def forgive_sign_in(account: str, address: str | None) -> None:
    """Forget the failures of an account from an address: its password was known."""
    _limiter().clear(_ACCOUNT_FROM_ADDRESS, "account", account, _place(address))


def unlock(accounts: Iterable[str], addresses: Iterable[str]) -> None:
    """Let an account in again, also from the addresses that failed. Raises: Unavailable"""
    limiter, places = _limiter(), {_place(address) for address in addresses}
    forgotten = True
    for account in accounts:
        forgotten &= limiter.clear(_ACCOUNT, "account", account)
        for place in places:
            forgotten &= limiter.clear(_ACCOUNT_FROM_ADDRESS, "account", account, place)
    if not forgotten:
        raise Unavailable("Redis is away, so the wrong passwords that it counts could not be forgotten.")


def count_write(credential_id: str) -> Quota | None:
    """Count a write of a credential. Returns what is left; None: there is no limit. Raises: TooMany"""
    limiter = _limiter()
    item = limiter.writes
    if item is None:
        return None
    counted, reset_s = limiter.hit(item, "writes", credential_id)
    quota = _quota("writes", item, counted, reset_s)
    if counted > item.amount:
        raise TooMany(f"This credential may make {item.amount} writes a minute.", quota)
    return quota


def _limiter() -> Limiter:
    return resources().part(Limiter)


def _quota(name: str, item: RateLimitItem, counted: int, reset_s: int) -> Quota:
    return Quota(name, item.amount, item.get_expiry(), max(0, item.amount - counted), reset_s)


def _counted(storage: Storage, key: str, item: RateLimitItem) -> tuple[int, int]:
    counted = storage.incr(key, item.get_expiry())
    return counted, max(1, math.ceil(storage.get_expiry(key) - time.time()))


def _place(address: str | None) -> str:
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
