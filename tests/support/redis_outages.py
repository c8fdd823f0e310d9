"""Breaks Redis or the connection to Redis."""

from app.cache.change_poller import LEASE_S
from embedded import Redis
from tests.support.tcp_proxy import Proxy

OUTAGES = ["killed", "hung", "mute", "hangs up"]
"""Outages during which Redis sends no response."""
DELAYS_S = {"slow": 0.03, "too slow": 2 * LEASE_S, "very slow": 0.5}


def break_redis(kind: str, server: Redis, proxy: Proxy) -> None:
    match kind:
        case "killed":
            server.kill()
        case "hung":
            server.pause()
        case "mute":
            proxy.mute = True
        case "hangs up":
            proxy.refuse = True
            proxy.cut()
        case _:
            proxy.delay_s = DELAYS_S[kind]


def repair(kind: str, server: Redis, proxy: Proxy) -> None:
    proxy.mute = proxy.refuse = False
    proxy.delay_s = 0
    if kind == "killed":
        server.start()
    server.resume()
