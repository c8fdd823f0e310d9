"""Hosts with a courier, in this process; their ways to Redis are proxies, which a test can break."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from app.infra.answers import Answers
from app.infra.cache import RedisCache
from app.infra.courier import Courier
from app.infra.memory import Memory
from app.infra.shared import SLOTS, SharedState, slot_of
from app.infra.shared_table import SharedTable
from embedded import Redis
from tests.support.tcp_proxy import Proxy
from tests.support.waiting import wait_until

SLOT = slot_of("k")


@dataclass
class Host:
    """One process and the courier of a host."""

    state: SharedState
    memory: Memory
    cache: RedisCache
    answers: Answers
    proxy: Proxy
    """Between the courier and Redis."""
    link: Proxy
    """Between the process and Redis."""

    def keep(self, value: bytes = b"old") -> None:
        """Keep a value for `k`, as soon as it may."""
        wait_until(lambda: self.memory.through("k", SLOT, lambda: value) and self.memory.recall("k") == value)


def opened(stack: ExitStack, server: Redis, path: Path) -> Host:
    proxy, link = (stack.enter_context(Proxy(server.port)) for _ in range(2))
    state = stack.enter_context(closing(SharedState(path)))
    cache = stack.enter_context(closing(RedisCache(_through(server, link), 0.5, 60, state)))
    # Who connects first says that everything is old.
    cache.ping()
    courier = stack.enter_context(closing(Courier(_through(server, proxy), state)))
    courier.start()
    memory = Memory(state, 2**20, 60)
    return Host(state, memory, cache, Answers(memory, SharedTable(state, 0, 60), cache, state), proxy, link)


def hear_all(hosts: list[Host], host: Host) -> None:
    """Wait until the others have heard all that was told before now: Redis keeps the order."""
    others = [other.state for other in hosts if other is not host]
    seen = [other.stamp(SLOTS - 1) for other in others]
    host.cache.forget([SLOTS - 1])
    wait_until(lambda: all(other.stamp(SLOTS - 1) != stamp for other, stamp in zip(others, seen, strict=True)))


def _through(server: Redis, proxy: Proxy) -> str:
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")
