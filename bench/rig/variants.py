"""Variants of the service for bench/ablation.py: in each of them a plainer part replaces one mechanism.

    cd bench; python -m rig.variants KEY        serves like `python -m app`, without the mechanism KEY

The product has no switch for this. A class is replaced in the modules that construct it, before create_app is called.
Generations and the change poller have no variant: without them nothing may be cached, as in the variant `local`.
"""

import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app import __main__ as service
from app import factory
from app.cache import redis_answers, redis_client
from app.cache.generations import USERS_KEY, Generations
from app.cache.known_changes import KnownChanges
from app.cache.redis_answers import RedisAnswers
from app.cache.single_flight import SingleFlight
from app.config import Settings
from app.db import database
from app.ops.circuit_breaker import CircuitBreaker
from app.users import reads, writes


class NoResponseCache:
    """Has no response."""

    def __init__(self, *_: object) -> None:
        pass

    def get(self, _: dict[str, Any]) -> None:
        """Nothing is cached."""

    def store(self, response: Any) -> Any:
        """Nothing is cached."""
        return response


class NoLocalCache:
    """Caches nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def get(self, _: Hashable) -> None:
        """Nothing is cached."""

    def put(self, *_: object) -> None:
        """Do nothing."""


class SingleFlightOnly(RedisAnswers):
    """Computes each answer, by single flight."""

    def __init__(self, settings: Settings, generations: Generations, known_changes: KnownChanges) -> None:
        super().__init__(settings, generations, known_changes)
        self._single_flight = SingleFlight(generations)

    def get_or_compute(self, key: str, compute: Callable[[], bytes]) -> bytes:
        """Compute."""
        return self._single_flight.share(key, [USERS_KEY], compute)


class NoSingleFlight:
    """Each caller computes."""

    def __init__(self, _: object) -> None:
        pass

    def share(self, _: Hashable, __: Iterable[str], compute: Callable[[], Any]) -> Any:
        """Compute."""
        return compute()


class NoBatcher:
    """Each call is a statement of its own; several run at once."""

    def __init__(self, execute_batch: Callable[[Sequence[Any]], Mapping[Any, Any]]) -> None:
        self._execute_batch = execute_batch

    def get(self, key: Hashable) -> Any:
        """Execute it for one key."""
        return self._execute_batch([key]).get(key)


class AlwaysUp(CircuitBreaker):
    """Stays closed: each request tries."""

    def failed(self, error: BaseException) -> None:
        """Do nothing."""


def _replace(name: str, value: Any, *places: Any) -> None:
    """Replace an attribute of each place. Raises: AttributeError, when a place has none of this name"""
    for place in places:
        getattr(place, name)
        setattr(place, name, value)


@dataclass(frozen=True)
class Variant:
    """`workloads`: those of rig.workloads that may show the mechanism."""

    key: str
    title: str
    install: Callable[[], None]
    workloads: tuple[str, ...]


WHOLE = Variant("whole", "whole service", lambda: None, ())
VARIANTS = (
    Variant(
        "response",
        "no response cache",
        lambda: _replace("ResponseCache", NoResponseCache, factory),
        ("one", "zipf", "page", "search", "mixed"),
    ),
    Variant(
        "local",
        "no local cache: no tokens, sessions, responses",
        lambda: _replace("LocalCache", NoLocalCache, factory),
        ("one", "zipf", "page", "search", "once", "create", "mixed"),
    ),
    Variant(
        "redis",
        "no Redis answers",
        lambda: _replace("RedisAnswers", SingleFlightOnly, factory),
        ("search", "mixed"),
    ),
    Variant(
        "flight",
        "no single flight",
        lambda: _replace("SingleFlight", NoSingleFlight, redis_answers),
        ("search", "mixed"),
    ),
    Variant("group", "no group commit", lambda: _replace("Batcher", NoBatcher, writes), ("create", "mixed")),
    Variant("batch", "no batching of reads", lambda: _replace("Batcher", NoBatcher, reads), ("zipf", "mixed")),
    Variant(
        "breaker",
        "no circuit breaker",
        lambda: _replace("CircuitBreaker", AlwaysUp, database, redis_client),
        ("one", "once", "create"),
    ),
)


def install(key: str) -> None:
    """Replace the mechanism `key`, in this process."""
    next(variant for variant in (WHOLE, *VARIANTS) if variant.key == key).install()


if __name__ == "__main__":
    install(sys.argv[1])
    sys.argv[1:] = []
    sys.exit(service.main())
