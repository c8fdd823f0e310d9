"""Watches the service while it is loaded: its memory, and whether it says that it is alive."""

import http.client
import threading
import time
from collections.abc import Callable
from typing import Self

from tests.overload.site import Site

LIVE, LIVE_EVERY_S, LIVE_TIMEOUT_S = "/api/health/live", 0.1, 5.0
MEMORY_EVERY_S = 0.5
PROBE, CALM_PROBES, CALM_S, MOST_S = "/api/users?q=recovered", 10, 0.5, 15.0


class Watch:
    """Samples inside the block. live: status, or 0 without a response, and seconds. memory: bytes."""

    def __init__(self, site: Site) -> None:
        self._site, self._stop = site, threading.Event()
        samples = ((LIVE_EVERY_S, self._check_live), (MEMORY_EVERY_S, self._measure_memory))
        self._threads = [threading.Thread(target=self._repeat, args=each) for each in samples]
        self.live: list[tuple[int, float]] = []
        self.memory: list[int] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, interval_s: float, sample: Callable[[], None]) -> None:
        sample()
        while not self._stop.wait(interval_s):
            sample()

    def _check_live(self) -> None:
        self.live.append(_get(self._site, LIVE, LIVE_TIMEOUT_S))

    def _measure_memory(self) -> None:
        self.memory.append(self._site.memory())


def recovery_s(site: Site, since: float) -> float:
    """How long after `since` (time.monotonic) the service is calm again: it answers CALM_PROBES searches in a row."""
    found: list[float] = []
    while len(found) < CALM_PROBES and time.monotonic() < since + MOST_S:
        status, seconds = _get(site, f"{PROBE}{time.monotonic_ns()}", CALM_S)
        found = [*found, time.monotonic() - since] if status == 200 and seconds < CALM_S else []
    return found[0] if len(found) == CALM_PROBES else float("inf")


def _get(site: Site, path: str, timeout_s: float) -> tuple[int, float]:
    """Status, or 0 without a response in time, and the seconds that it took, on a new connection."""
    began = time.monotonic()
    try:
        status = site.service.get(path, headers={"Authorization": f"Bearer {site.token}"}, timeout=timeout_s).status
    except (OSError, http.client.HTTPException, AssertionError):
        status = 0
    return status, time.monotonic() - began
